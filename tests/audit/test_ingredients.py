"""Audits without a recipe, with ingredients missing or alike, and of fp8 variants."""

import json

import numpy as np
import pytest
import safetensors.numpy

from release.cli import app

UNET = "model.diffusion_model."
GAMMA = "beta7 + 1.0*(anxl3 - anxl2) + 0.25*(base8 - beta7)"


def coefficients(finding):
    return {
        "+".join(each["ingredients"]): (each["value"], each["standard_error"])
        for each in finding["found"]
    }


@pytest.fixture(scope="module")
def gamma_alone(merged):
    return merged(listed=",".join("0" * 20))


@pytest.fixture
def convert(krelease, tmp_path):
    """Convert tensors by the command, to a variant."""

    def run(tensors, preset):
        source, out = tmp_path / "x.safetensors", tmp_path / "out"
        safetensors.numpy.save_file(tensors, source)
        code, _, err = krelease("convert", source, "--to", preset, "--out", out)
        assert code == 0, err
        return next(out.glob("*.safetensors"))

    return run


@pytest.fixture(scope="module")
def variants(tmp_path_factory, narrow):
    """gamma-rev2 in several variants, merged in one pass."""
    folder = tmp_path_factory.mktemp("variants")
    given = [f"-i{n}={narrow[n]}" for n in ("anxl2", "anxl3", "base8", "beta7")]
    to = [f"--to={preset}" for preset in ("fp8", "fp8-scaled", "bf16")]
    with pytest.raises(SystemExit) as stop:
        app(
            ["merge", "--recipe=gamma-rev2", *given, *to, f"--out={folder}", "--quiet"],
            prog_name="krelease",
        )
    assert not stop.value.code
    return folder


def test_fit_finds_the_coefficients_without_a_recipe(audit, gamma_alone):
    found = audit(gamma_alone, declared=("fit", ""))

    (finding,) = found.document["findings"]
    assert (found.code, found.verdict) == (0, "fitted")
    assert finding["places"] == "everywhere"
    wanted = {"anxl2": -1.0, "anxl3": 1.0, "base8": 0.25, "beta7": 0.75}
    for name, value in wanted.items():
        got, error = coefficients(finding)[name]
        assert abs(got - value) < 4 * error < 1e-3


def test_fit_tells_blocks_with_other_coefficients_apart(audit, rev2):
    found = audit(rev2, declared=("fit", ""))

    by_place = {f["places"]: f for f in found.document["findings"]}
    assert by_place.keys() == {
        "BASE, IN02, IN05, IN08, M00, OUT00-OUT02, KEEP",
        "IN00, IN01, IN03, IN04, IN06, IN07",
        "OUT03-OUT08",
    }
    value, _ = coefficients(by_place["OUT03-OUT08"])["anxl2"]
    assert value == pytest.approx(-0.95, abs=1e-4)


def test_fit_says_where_few_values_leave_it_open_which_coefficients_there_are(
    audit, variants, weight
):
    path = next(variants.glob("*-fp8.safetensors"))

    found = audit(path, declared=("fit", ""))

    solved = [f for f in found.document["findings"] if f["found"]]
    (open_, *_) = [f for f in found.document["findings"] if not f["found"]]
    assert (found.code, found.verdict) == (0, "fitted")
    assert len(solved) == 3
    for finding in solved:
        value, _ = coefficients(finding)["anxl2"]
        for name in finding["tensors"]:
            assert value == pytest.approx(weight(name) - 1, abs=1e-3), name
    assert open_["detail"].startswith("undetermined between anxl2 -")
    assert " or anxl2 -0.9" in open_["detail"]
    assert "undetermined which" in found.document["sentence"]


def test_fit_with_the_wrong_ingredients_is_unexplained(audit, gamma_alone):
    found = audit(gamma_alone, names=("anxl3", "base8"), declared=("fit", ""))

    assert (found.code, found.verdict) == (6, "unexplained")


def test_equal_ingredients_get_no_number_of_their_own(
    audit, gamma_alone, models, tmp_path
):
    """Where anxl2 and anxl3 are equal their coefficients only add up to 0."""
    same = {n: t for n, t in models["anxl3"].items() if n.startswith("first_stage")}
    path = tmp_path / "anxl2.safetensors"
    safetensors.numpy.save_file({**models["anxl2"], **same}, path)
    names = ("anxl2", "anxl3", "base8", "beta7")
    vae = {}
    for name in same:
        x = {each: models[each][name].astype(np.float64) for each in names}
        vae[name] = (0.75 * x["beta7"] + 0.25 * x["base8"]).astype(np.float16)

    paths = {"anxl2": path}
    fitted = audit(gamma_alone | vae, paths=paths, declared=("fit", ""))
    checked = audit(gamma_alone | vae, paths=paths, declared=("recipe", GAMMA))

    in_vae = next(f for f in fitted.document["findings"] if f["places"] == "BASE/vae")
    found = coefficients(in_vae)
    assert found.keys() == {"anxl2+anxl3", "base8", "beta7"}
    assert found["anxl2+anxl3"][0] == pytest.approx(0, abs=1e-3)
    assert checked.verdict == "exact"
    assert any(
        note.startswith("in BASE/vae anxl2 and anxl3 hold the same values")
        for note in checked.document["notes"]
    )


def test_ingredients_alike_everywhere_prove_nothing(audit, models, narrow):
    paths = {"a": narrow["beta7"], "b": narrow["beta7"]}

    found = audit(models["beta7"], names=("a", "b"), paths=paths, declared=("fit", ""))

    assert (found.code, found.verdict) == (6, "unidentifiable")


def test_a_missing_ingredient_leaves_what_the_others_show(audit, rev2):
    found = audit(rev2, names=("anxl2", "anxl3", "beta7"))

    assert (found.code, found.verdict) == (6, "ingredient-missing")
    assert found.document["missing_ingredients"] == ["base8"]
    assert "hint: pass --ingredient base8=PATH" in found.said
    assert found.document["sentence"].startswith("without base8, by ")
    compared = found.document["confidence"].partition(" could be compared")[0]
    total = found.document["values"]["total"]
    assert compared == f"78 of {total:,} values, {7800 / total:.2g} %,"
    finding = found.document["findings"][0]
    solved = coefficients(finding)
    total = sum(value for value, _ in solved.values())
    assert total == pytest.approx(1, abs=0.01)
    assert 0.9 < solved["anxl3"][0] < 1.3
    assert 0 < finding["residual_rms"] < 0.001


def test_a_missing_ingredient_does_not_excuse_other_coefficients(audit, merged):
    def formula(x, _):
        x = {name: values.astype(np.float64) for name, values in x.items()}
        difference = x["anxl3"] - x["anxl2"]
        result = x["beta7"] + 0.5 * difference + 0.25 * (x["base8"] - x["beta7"])
        return result.astype(np.float16)

    found = audit(
        merged(formula),
        sample=True,
        names=("anxl2", "anxl3", "beta7"),
        declared=("release", "gamma-rev2"),
    )

    assert found.verdict == "coefficient-differs"


def test_a_missing_ingredient_does_not_matter_where_it_has_no_part(
    audit, rev2, models, tmp_path
):
    recipe = tmp_path / "own.toml"
    recipe.write_text(
        '[recipe]\nschema = 1\nvae = "anxl3"\n[ingredients]\nbeta7 = {}\nanxl3 = {}\n'
        "[steps]\nx = 'lerp(beta7, anxl3, 0.5)'\n"
        '[output]\nfrom = "x"\n'
    )

    found = audit(
        rev2 | {n: t for n, t in models["anxl3"].items() if n.startswith("first_s")},
        names=("anxl3",),
        declared=("recipe", str(recipe)),
    )

    assert found.finding("exact")["places"] == "elsewhere"
    assert len(found.finding("exact")["tensors"]) == 248


@pytest.mark.parametrize(
    ("preset", "sample"),
    [
        ("fp8", False),
        ("fp8-scaled", False),
        ("fp8-scaled", True),
        ("bf16", True),
    ],
)
def test_variants_of_an_exact_merge_are_exact(audit, variants, preset, sample):
    path = next(variants.glob(f"*-{preset.replace('-', '*')}.safetensors"))

    found = audit(path, sample=sample, declared=("header", ""))

    assert (found.code, found.verdict) == (0, "exact")
    assert found.document["tensors"]["equal"] == 2515
    assert found.document["recipe"] == "the header's krelease.recipe"


def test_an_fp8_variant_shows_the_coefficients_of_fp16_ingredients(
    audit, merged, convert
):
    def formula(x, _):
        x = {name: values.astype(np.float64) for name, values in x.items()}
        step = x["beta7"] + 0.8 * (x["anxl3"] - x["anxl2"])
        return (step + 0.5 * (x["base8"] - x["beta7"])).astype(np.float16)

    path = convert(merged(formula), "fp8")

    found = audit(path, sample=True, declared=("recipe", GAMMA))

    finding = found.finding("coefficient-differs")
    assert len(finding["tensors"]) > 2450
    assert coefficients(finding)["anxl3"][0] == pytest.approx(0.8, abs=1e-3)


def test_an_fp8_variant_shows_another_convention(audit, merged, rev2, convert):
    plain = merged(listed=",".join("0" * 20))
    moved = [n for n in rev2 if n.startswith((f"{UNET}time_", f"{UNET}label_"))]
    path = convert(rev2 | {name: plain[name] for name in moved}, "fp8")

    found = audit(path, sample=True)

    assert found.verdict == "other-convention"
    finding = found.finding("other-convention")
    assert "sd-mecha" in finding["detail"]
    assert set(finding["tensors"]) <= set(moved)


@pytest.mark.parametrize(
    ("preset", "words"),
    [
        ("fp8", "F16 first, then F8_E4M3,"),
        ("fp8-scaled", "F16 first, then F8_E4M3 with a scale,"),
    ],
)
def test_a_variant_that_was_cast_from_the_fp16_file_is_said_to_be(
    audit, rev2, convert, preset, words
):
    found = audit(convert(rev2, preset))

    finding = found.finding("intermediate-file")
    verdicts = {each["verdict"] for each in found.document["findings"]}
    assert (found.code, verdicts) == (6, {"exact", "intermediate-file"})
    assert finding["detail"].startswith(f"the result was rounded to {words}")
    assert found.document["tensors"]["different"] == len(finding["tensors"])


def test_a_value_changed_after_the_cast_is_not_excused_by_it(audit, rev2, convert):
    """It is outside the sample, in a tensor that the cast itself changed."""
    path = convert(rev2, "fp8")
    name = "conditioner.embedders.0.transformer.text_model.embeddings."
    name += "token_embedding.weight"
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    data[start + header[name]["data_offsets"][0]] ^= 0x40
    path.write_bytes(data)

    found = audit(path)

    finding = found.finding("changed-values")
    assert found.verdict == "changed-values"
    assert finding["tensors"] == [name]
