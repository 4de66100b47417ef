"""Every way to leave a recipe that an audit names; the files are made in numpy."""

import numpy as np
import pytest

LIST = "0,0.1,0.1,0,0.1,0.1,0,0.1,0.1,0,0,0,0,0,0.05,0.05,0.05,0.05,0.05,0.05"
UNET = "model.diffusion_model."
TEXT = "conditioner.embedders.0.transformer.text_model."
F16 = np.float16


def wide(x):
    return {name: values.astype(np.float64) for name, values in x.items()}


def gamma_of(x, anxl=1.0, base=0.25):
    return (
        x["beta7"] + anxl * (x["anxl3"] - x["anxl2"]) + base * (x["base8"] - x["beta7"])
    )


def blended(x, w, step):
    return ((1 - w) * step + w * x["anxl3"]).astype(F16)


def coefficients(finding):
    return {
        "+".join(each["ingredients"]): (each["value"], each["standard_error"])
        for each in finding["found"]
    }


@pytest.mark.parametrize("sample", [False, True])
def test_what_the_formula_gives_is_exact(audit, rev2, sample):
    found = audit(rev2, sample=sample)

    assert (found.code, found.verdict) == (0, "exact")
    assert found.document["tensors"]["equal"] == 2515
    assert found.document["whole"] is (not sample)
    assert found.document["sentence"].endswith(
        "2,515 of 2,515 tensors equal the recipe bit for bit"
    )


def test_a_sample_says_that_it_is_one(audit, rev2):
    found = audit(rev2, sample=True)

    sampled = found.document["values"]["sampled"]
    assert sampled < found.document["values"]["total"]
    assert found.document["sentence"].startswith("in a sample of ")
    assert "95 % certainty" in found.document["confidence"]


def test_rev1_coefficients_are_found_under_those_of_rev2(audit, merged):
    """0.8 and 0.5 were done, 1.0 and 0.25 are declared."""
    tensors = merged(lambda x, _: gamma_of(wide(x), 0.8, 0.5).astype(F16))
    recipe = "beta7 + 1.0*(anxl3 - anxl2) + 0.25*(base8 - beta7)"

    found = audit(tensors, sample=True, declared=("recipe", recipe))

    finding = found.finding("coefficient-differs")
    assert (found.code, found.verdict) == (6, "coefficient-differs")
    assert finding["places"] == "everywhere"
    for name, value in {
        "anxl2": -0.8,
        "anxl3": 0.8,
        "base8": 0.5,
        "beta7": 0.5,
    }.items():
        got, error = coefficients(finding)[name]
        assert abs(got - value) < 4 * error < 1e-3
    assert finding["declared"]["anxl3"] == "1"


def test_wrong_coefficients_are_found_in_each_block_of_a_block_merge(audit, merged):
    tensors = merged(lambda x, w: blended(wide(x), w, gamma_of(wide(x), 0.8)))

    found = audit(tensors, sample=True)

    findings = [f for f in found.document["findings"] if f["found"]]
    assert {f["verdict"] for f in findings} == {"coefficient-differs"}
    by_row = {f["declared"]["anxl2"]: coefficients(f)["anxl2"][0] for f in findings}
    assert by_row == {
        "-1": pytest.approx(-0.8, abs=1e-4),
        "-0.9": pytest.approx(-0.72, abs=1e-4),
        "-0.95": pytest.approx(-0.76, abs=1e-4),
    }


def test_another_convention_is_named(audit, merged, rev2):
    """sd-mecha gives time_embed and label_emb the weight of BASE."""
    plain = merged(listed=",".join("0" * 20))
    moved = [n for n in rev2 if n.startswith((f"{UNET}time_", f"{UNET}label_"))]

    found = audit(rev2 | {name: plain[name] for name in moved}, sample=True)

    finding = found.finding("other-convention")
    assert found.code == 6
    assert "sd-mecha" in finding["detail"]
    assert finding["tensors"] == sorted(moved)
    assert len(moved) == 8


@pytest.mark.parametrize(
    ("listed", "word"),
    [
        ("0," + LIST.rpartition(",")[0], "one block late"),
        (LIST.partition(",")[2] + ",0", "one block early"),
        (",".join("0" * 20), "block merge was left out"),
        (",".join(f"{1 - float(w):g}" for w in LIST.split(",")), "inverted"),
    ],
)
def test_mistakes_with_the_list_of_weights_are_named(audit, merged, listed, word):
    found = audit(merged(listed=listed), sample=True)

    assert found.verdict == "recipe-mistake"
    assert word in found.finding("recipe-mistake")["detail"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("beta7 + 1.0*anxl3 + 0.25*(base8 - beta7)", "anxl2 was not subtracted"),
        ("beta7 + 1.0*(anxl2 - anxl3) + 0.25*(base8 - beta7)", "wrong way round"),
    ],
)
def test_mistakes_with_differences_are_named(audit, merged, wrong, words):
    names = ("anxl2", "anxl3", "base8", "beta7")
    tensors = merged(
        lambda x, _: eval(wrong, {n: wide(x)[n] for n in names}).astype(F16)  # noqa: S307
    )
    recipe = "beta7 + 1.0*(anxl3 - anxl2) + 0.25*(base8 - beta7)"

    found = audit(tensors, sample=True, declared=("recipe", recipe))

    assert found.verdict == "recipe-mistake"
    assert words in found.finding("recipe-mistake")["detail"]


def test_swapped_ingredients_are_named_whatever_else_the_recipe_says(
    audit, rev2, narrow
):
    swapped = {"anxl2": narrow["anxl3"], "anxl3": narrow["anxl2"]}

    found = audit(rev2, sample=True, paths=swapped)

    detail = found.finding("recipe-mistake")["detail"]
    assert detail == "anxl2 and anxl3 are swapped"


def test_float16_file_in_between_is_recognised(audit, merged):
    def formula(x, w):
        step = gamma_of(wide(x)).astype(F16).astype(np.float64)
        return blended(wide(x), w, step)

    found = audit(merged(formula))

    finding = found.finding("intermediate-file")
    assert found.code == 6
    assert "every step was saved" in finding["detail"]
    assert finding["places"].startswith("IN00, IN01, IN03, IN04")
    assert "BASE" not in finding["places"]


def test_arithmetic_in_float16_is_recognised(audit, merged):
    def formula(x, _):
        total = x["beta7"] + F16(1) * (x["anxl3"] - x["anxl2"])
        return total + F16(0.25) * (x["base8"] - x["beta7"])

    recipe = "beta7 + 1.0*(anxl3 - anxl2) + 0.25*(base8 - beta7)"

    found = audit(merged(formula), sample=True, declared=("recipe", recipe))

    finding = found.finding("other-arithmetic")
    assert "every operation was rounded" in finding["detail"]
    assert len(finding["tensors"]) > 1900


def test_sums_in_float32_count_as_following_the_recipe(audit, merged):
    def formula(x, w):
        single = {name: values.astype(np.float32) for name, values in x.items()}
        step = gamma_of(single, np.float32(1), np.float32(0.25))
        w = np.float32(w)
        return ((1 - w) * step + w * single["anxl3"]).astype(F16)

    found = audit(merged(formula))

    assert (found.code, found.verdict) == (0, "rounding-order")
    assert found.document["values"]["near"] > 0
    assert found.document["tensors"]["different"] == 0


def test_the_groups_of_the_lycoris_bug_are_named_and_no_others(audit, rev2, models):
    """Text encoders' norms and embeddings, and what has no layer of its own class."""

    def is_left(name):
        last = name.rpartition(".")[0].rpartition(".")[2]
        if name.startswith("conditioner."):
            return "norm" in last or last.startswith("ln_") or "embedding" in name
        parts = ("time_embed.", "label_emb.", "out.", "input_blocks.0.")
        return name.startswith(tuple(UNET + part for part in parts))

    left = [n for n in rev2 if is_left(n) and not n.endswith("position_ids")]

    found = audit(rev2 | {name: models["beta7"][name] for name in left}, sample=True)

    finding = found.finding("not-merged")
    assert found.code == 6
    assert finding["tensors"] == sorted(left)
    assert finding["detail"] == "not merged, equal to beta7"
    assert finding["places"] == (
        "BASE/clip_g/embedding, BASE/clip_g/norm, BASE/clip_l/embedding,"
        " BASE/clip_l/norm, IN00, OUT08/out, KEEP/clip_g/embedding"
    )


def test_a_part_of_another_ingredient_is_said_to_be_taken_from_it(audit, rev2, models):
    vae = {n: t for n, t in models["anxl3"].items() if n.startswith("first_stage")}

    found = audit(rev2 | vae, sample=True)

    finding = found.finding("taken")
    assert finding["places"] == "BASE/vae"
    assert finding["detail"] == "taken from anxl3 alone"


def test_one_tensor_of_another_model_is_named(audit, rev2, models):
    name = f"{UNET}middle_block.1.proj_in.weight"

    found = audit(rev2 | {name: models["stranger"][name]}, sample=True)

    finding = found.finding("another-model")
    assert (found.code, found.verdict) == (6, "another-model")
    assert finding["tensors"] == [name]
    assert finding["places"] == name


def test_a_stranger_of_four_values_is_not_solved_for(audit, rev2, models):
    name = f"{UNET}out.2.bias"

    found = audit(rev2 | {name: models["stranger"][name]}, sample=True)

    finding = found.finding("another-model")
    assert finding["tensors"] == [name]
    assert "too few values" in finding["detail"]
    assert finding["found"] == []


def test_quite_another_model_is_unexplained(audit, models):
    found = audit(models["stranger"], sample=True)

    assert found.verdict == "unexplained"
    finding = found.finding("unexplained")
    assert len(finding["tensors"]) > 2400
    assert 0.0005 < finding["residual_rms"] < 0.01


def test_one_changed_value_outside_the_sample_needs_a_whole_audit(audit, rev2):
    name = f"{TEXT}embeddings.token_embedding.weight"
    tensors = {**rev2, name: rev2[name].copy()}
    tensors[name].reshape(-1)[0] += F16(0.01)

    sampled, whole = audit(tensors, sample=True), audit(tensors)

    assert sampled.verdict == "exact"
    assert (whole.code, whole.verdict) == (6, "changed-values")
    finding = whole.finding("changed-values")
    assert finding["tensors"] == [name]
    assert finding["detail"] == f"1 of {rev2[name].size:,} values differ"


def test_positions_zeros_and_nan_are_each_named(audit, rev2):
    """Positions that were merged like weights give away the sum of coefficients."""
    zeros, bad = f"{TEXT}encoder.layers.11.mlp.fc1.weight", f"{UNET}out.2.weight"
    positions = f"{TEXT}embeddings.position_ids"
    tensors = {**rev2, zeros: np.zeros_like(rev2[zeros]), bad: rev2[bad].copy()}
    tensors[bad].reshape(-1)[0] = np.nan
    tensors[positions] = (np.arange(77) * 0.75).astype(F16)[None]

    found = audit(tensors, sample=True)

    assert found.code == 6
    assert found.finding("zero-filled")["tensors"] == [zeros]
    assert "NaN" in found.finding("unexplained")["detail"]
    detail = found.finding("buffers-differ")["detail"]
    assert detail.startswith("reads 0.75 times 0 to 76")
    assert detail.endswith("coefficients that sum to 0.75")


def test_missing_and_added_and_misshapen_tensors_are_named(audit, rev2):
    tensors = dict(rev2)
    lost, odd = f"{UNET}out.2.bias", f"{UNET}out.2.weight"
    del tensors[lost]
    tensors[odd] = tensors[odd].reshape(-1)
    tensors["own.weight"] = np.zeros(3, F16)

    found = audit(tensors, sample=True)

    findings = [
        f for f in found.document["findings"] if f["verdict"] == "tensors-differ"
    ]
    assert {tuple(f["tensors"]) for f in findings} == {
        (lost,),
        (odd,),
        ("own.weight",),
    }
    assert found.code == 6


def test_a_file_without_a_vae_is_audited_for_what_it_has(audit, rev2):
    kept = {n: t for n, t in rev2.items() if not n.startswith("first_stage")}

    found = audit(kept, sample=True)

    assert (found.code, found.verdict) == (0, "exact")
    assert "the file has no tensors of vae" in found.document["notes"]
