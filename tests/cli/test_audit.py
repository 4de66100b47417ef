"""`krelease audit` on the command line: recipes, ingredients, texts, exit codes."""

import json

import pytest
import safetensors.numpy

from release.cli import app

NAMES = ("anxl2", "anxl3", "base8", "beta7")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, ingredients):
    """A folder with gamma-rev2, and one merged by an expression."""
    folder = tmp_path_factory.mktemp("audited")
    given = [f"-i{name}={ingredients[name]}" for name in NAMES]
    for options in (
        ["--recipe=gamma-rev2", f"--out={folder / 'rev2.safetensors'}", *given],
        ["slerp(anxl3, beta7, 0.25)", f"--out={folder / 'arc.safetensors'}"]
        + [f"-i{name}={ingredients[name]}" for name in ("anxl3", "beta7")],
    ):
        with pytest.raises(SystemExit) as stop:
            app(["merge", *options, "--quiet"], prog_name="krelease")
        assert not stop.value.code
    return folder


@pytest.fixture
def here(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    capsys.readouterr()
    return folder


def test_a_file_that_krelease_wrote_needs_only_its_ingredients(krelease, here, given):
    code, out, err = krelease("audit", "rev2.safetensors", *given)

    lines = out.splitlines()
    assert code == 0
    assert lines[0] == "exact: 2,515 of 2,515 tensors equal the recipe bit for bit"
    assert "recipe: the header's krelease.recipe" in lines
    assert lines[-1].endswith("by their tensors' digests: anxl2, anxl3, base8, beta7")
    assert err.count("sample: ") == err.count("compute again: ") == 1


def test_another_ingredient_than_the_header_names_is_noticed(
    krelease, here, ingredients
):
    swapped = [f"-i{n}={ingredients[n]}" for n in ("anxl3", "base8", "beta7")]
    swapped.append(f"-ianxl2={ingredients['base8']}")

    code, out, _ = krelease("audit", "rev2.safetensors", *swapped)

    assert code == 6
    assert "not the ingredients that the file's header names" in out
    assert "by their tensors' digests: anxl2" in out


def test_what_differs_is_one_error_with_a_hint(krelease, here, given):
    recipe = "beta7 + 0.8*(anxl3 - anxl2) + 0.25*(base8 - beta7)"

    code, out, err = krelease(
        "audit", "rev2.safetensors", "--recipe", recipe, *given, "--sample"
    )

    assert code == 6
    assert out.startswith("coefficient-differs: in a sample of ")
    assert "  declared" in out
    assert max(len(line) for line in out.splitlines()) < 400
    assert len(out.splitlines()) < 30
    assert "error: rev2.safetensors: in a sample of " in err
    assert err.splitlines()[-1].startswith("hint: ")


def test_quiet_prints_the_verdict_alone(krelease, here, given):
    code, out, err = krelease("audit", "rev2.safetensors", *given, "--sample", "-q")

    assert (code, out, err) == (0, "exact\n", "")


def test_json_has_the_schema_and_every_finding(krelease, here, given):
    code, out, _ = krelease("audit", "rev2.safetensors", *given, "--sample", "--json")

    document = json.loads(out)
    assert code == 0
    assert document["schema"] == "krelease.audit/1"
    assert document["follows"] is True
    assert document["findings"][0]["verdict"] == "exact"
    assert len(document["findings"][0]["tensors"]) == 2513


def test_a_method_is_compared_whole_and_not_by_sample(krelease, here, ingredients):
    given = [f"-i{name}={ingredients[name]}" for name in ("anxl3", "beta7")]

    whole, out, _ = krelease("audit", "arc.safetensors", *given)
    sampled, text, err = krelease("audit", "arc.safetensors", *given, "--sample")

    assert (whole, out.partition(":")[0]) == (0, "exact")
    assert (sampled, text.partition(":")[0]) == (6, "unidentifiable")
    assert "hint: without --sample every value is compared" in err


def test_a_recipe_of_another_program_is_read_from_the_header(
    krelease, tmp_path, monkeypatch, ingredients
):
    monkeypatch.chdir(tmp_path)
    a = safetensors.numpy.load_file(ingredients["anxl3"])
    b = safetensors.numpy.load_file(ingredients["beta7"])
    tensors = {
        n: t
        if t.dtype != "float16" or n.endswith("logit_scale")
        else (0.75 * t.astype("f8") + 0.25 * b[n].astype("f8")).astype("f2")
        for n, t in a.items()
    }
    recipe = {
        "type": "webui",
        "primary_model_hash": "a" * 64,
        "secondary_model_hash": "b" * 64,
        "tertiary_model_hash": None,
        "interp_method": "Weighted sum",
        "multiplier": 0.25,
    }
    models = {"a" * 64: {"name": "one.ckpt"}, "b" * 64: {"name": "two.ckpt"}}
    metadata = {
        "sd_merge_recipe": json.dumps(recipe),
        "sd_merge_models": json.dumps(models),
    }
    safetensors.numpy.save_file(tensors, "merged.safetensors", metadata)
    given = [f"-ione={ingredients['anxl3']}", f"-itwo={ingredients['beta7']}"]

    code, out, err = krelease("audit", "merged.safetensors", *given, "--sample")

    assert (code, out.partition(":")[0]) == (0, "exact"), err
    assert "recipe: the header, written by AUTOMATIC1111 or Forge" in out


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        (["anxl2.safetensors", "-ia=a.safetensors"], 3, "declares no recipe"),
        (["rev2.safetensors"], 2, "no ingredient is at hand"),
        (["rev2.safetensors", "--fit"], 2, "no ingredient was given"),
        (["rev2.safetensors", "--fit", "--release=gamma-rev2"], 2, "got several"),
        (["rev2.safetensors", "-iother=a.safetensors"], 2, "has no such ingredient"),
        (["rev2.safetensors", "--convention=sdnext"], 2, "is for an EXPRESSION"),
        (["rev2.safetensors", "--release=gama-rev2"], 3, "unknown release"),
        (["rev2.safetensors", "--recipe=nowhere.toml"], 3, "nowhere.toml"),
        (["rev2.safetensors", "-ibeta7=nowhere.safetensors"], 4, "nowhere.safetensors"),
        (["nowhere.safetensors", "-ia=a.safetensors"], 4, "nowhere.safetensors"),
    ],
)
def test_wrong_questions_say_what_is_wrong(
    krelease, here, ingredients, options, code, word
):
    link = here / "anxl2.safetensors"
    if not link.exists():
        link.symlink_to(ingredients["anxl2"])

    found, out, err = krelease("audit", *options, "--json")

    document = json.loads(out)
    assert (found, document["exit_code"]) == (code, code), err
    assert word in document["message"]
    assert document["hint"]


def test_a_damaged_recipe_in_the_header_is_named(krelease, tmp_path, ingredients):
    tensors = safetensors.numpy.load_file(ingredients["beta7"])
    path = tmp_path / "damaged.safetensors"
    safetensors.numpy.save_file(tensors, path, {"krelease.recipe": '{"schema":"x"}'})

    code, _, err = krelease("audit", path, f"-ibeta7={ingredients['beta7']}")

    assert code == 3
    assert f"error: {path}: krelease.recipe: got the schema 'x'" in err
    assert "hint: " in err
