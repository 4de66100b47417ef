"""Where a merge is written, in how many files, and what is said of it."""

import json
from collections import Counter
from pathlib import Path

import pytest
import safetensors

UNET = "model.diffusion_model."
HALF = "0.5*a + 0.5*b"
RECORD = "merge-{}.krelease.json"


@pytest.fixture
def two(options, models):
    """The models a and b as options."""
    return options({name: models[name] for name in "ab"})


def test_several_variants_with_rules_and_a_least_snr_come_from_one_recipe(
    merge, formulas, two, here
):
    rules = here.parent / "rules.toml"
    rules.write_text(
        '[[rule]]\ncomponent = "clip_l"\ndtype = "F32"\nreason = "as it was"\n'
    )

    done = merge(
        HALF, *two, "--to=fp16", "--to=fp8", f"--rules={rules}", "--min-snr=27"
    )

    assert done.document["schema"] == "krelease.merge/1"
    assert done.document["source"] == "merge"
    assert len(done.document["recipe_sha256"]) == 64
    assert done.paths.keys() == {"fp16", "fp8"}
    fp8 = next(v for v in done.document["variants"] if v["variant"] == "fp8")
    assert 0 < len(fp8["kept"]) < 1168
    found = formulas.read(done.path("fp8"))
    assert {found[name][0] for name in fp8["kept"]} == {"F16"}
    counts = Counter(dtype for dtype, _, _ in found.values())
    assert counts["F8_E4M3"] == 1168 - len(fp8["kept"])
    for variant in ("fp16", "fp8"):
        tensors = formulas.read(done.path(variant))
        text = {n: d for n, (d, _, _) in tensors.items() if ".embedders.0." in n}
        assert set(text.values()) == {"F32", "I64"}


def test_shards_hold_what_one_file_holds(krelease, formulas, two, models, here):
    code, out, err = krelease("merge", HALF, *two, "--shard=2MB", "--quiet")

    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert len(lines) >= 3
    assert lines == [
        f"merge-fp16-{n:05}-of-{len(lines):05}.safetensors"
        for n in range(1, len(lines) + 1)
    ]
    index = json.loads(Path("merge-fp16.safetensors.index.json").read_text())
    values = {name: formulas.values(models[name]) for name in "ab"}
    row = {"a": 0.5, "b": 0.5}
    held = {}
    for line in lines:
        names = formulas.read(line).keys()
        held |= dict.fromkeys(names, line)
        wrong = formulas.differing(line, values, lambda _: row, copied_from="a")
        assert wrong == []
    assert len(held) == 2515
    assert index["weight_map"] == held
    assert {path.name for path in here.iterdir()} == {
        *lines,
        "merge-fp16.safetensors.index.json",
        RECORD.format("fp16"),
    }


def test_dry_run_knows_every_size_and_writes_nothing(
    krelease, merge, two, here, listing
):
    command = ["merge", HALF, *two, "--to=fp8", "--to=fp8-scaled", "--out=made/here"]
    before = listing(here.parent)
    code, out, _ = krelease(*command, "--dry-run", "--json")
    _, quiet, err = krelease(*command, "--dry-run", "--quiet")
    _, text, _ = krelease(*command, "--dry-run")
    assert listing(here.parent) == before

    done = merge(*command[1:])

    plan = json.loads(out)
    assert (code, err) == (0, "")
    assert plan["schema"] == "krelease.merge-plan/1"
    assert plan["recipe_sha256"] == done.document["recipe_sha256"]
    planned = {
        file["path"]: file["nbytes"]
        for variant in plan["variants"]
        for file in variant["files"]
    }
    assert planned == {path: Path(path).stat().st_size for path in planned}
    assert set(planned) == {
        "made/here/merge-fp8.safetensors",
        "made/here/merge-fp8_scaled.safetensors",
    }
    assert quiet.splitlines() == list(planned)
    assert all(f"{nbytes:,} bytes" in text for nbytes in planned.values())


@pytest.fixture
def listing():
    return lambda folder: sorted(folder.rglob("*"))


def test_out_may_be_a_file_in_a_folder_that_is_not_there_yet(krelease, two, here):
    code, out, _ = krelease("merge", HALF, *two, "--out=new/mine.safetensors", "-q")

    assert (code, out) == (0, "new/mine.safetensors\n")
    assert {path.name for path in (here / "new").iterdir()} == {
        "mine.safetensors",
        "mine.krelease.json",
    }


def test_tensor_below_the_limit_is_refused_after_all_was_computed(refused, two):
    found = refused(HALF, *two, "--to=fp8", "--fail-below=40")

    assert found.exit_code == 6
    assert UNET in found.message
    assert "dB" in found.message


def test_existing_output_is_refused_until_forced(merge, refused, two, here):
    Path("merge-fp16.safetensors").write_bytes(b"mine")

    found = refused(HALF, *two)

    assert (found.exit_code, found.code) == (9, "output-exists")
    assert "merge-fp16.safetensors" in found.message
    merge(HALF, *two, "--force")
    assert Path("merge-fp16.safetensors").stat().st_size > 1_000_000


def test_output_that_is_an_ingredient_is_refused_by_any_name(
    refused, edited, models, here
):
    path = edited("a", lambda _: None)
    Path("other.safetensors").hardlink_to(path)

    found = refused(
        HALF, f"-ia={path}", f"-ib={models['b']}", "--out=other.safetensors"
    )

    assert (found.exit_code, found.code) == (9, "output-is-input")


def test_folder_that_looks_like_a_file_is_a_folder(krelease, two, here):
    Path("odd.safetensors").mkdir()

    _, out, _ = krelease(
        "merge", HALF, *two, "--out=odd.safetensors", "-q", "--dry-run"
    )

    assert out == "odd.safetensors/merge-fp16.safetensors\n"


def test_names_that_are_no_text_are_written_as_far_as_they_are(
    merge, formulas, edited, here
):
    path = edited("a", lambda _: None).rename(here / "a\udcff.safetensors")

    done = merge("a", f"-ia={path}", "--out=b\udcff.safetensors")

    (written,) = here.glob("b*.safetensors")
    with safetensors.safe_open(written, "np") as opened:
        metadata = opened.metadata()
    assert metadata["modelspec.merged_from"] == "a\\udcff.safetensors"
    assert metadata["modelspec.title"] == "b\\udcff"
    assert done.document["schema"] == "krelease.merge/1"


def test_files_of_a_recipe_are_beside_it_unless_they_are_given(
    krelease, edited, models, here
):
    (here / "sub").mkdir()
    edited("b", lambda _: None).rename(here / "sub" / "mine.safetensors")
    Path("sub/own.toml").write_text(
        "[recipe]\nschema = 1\n[ingredients]\n"
        'a = { file = "no.safetensors" }\nb = { file = "mine.safetensors" }\n'
        f'[steps]\nhalf = "{HALF}"\n[output]\nfrom = "half"\n'
    )
    command = ["merge", "--recipe=sub/own.toml", "--dry-run", "-q"]

    code, out, err = krelease(*command, f"-ia={models['a']}")
    missing, _, said = krelease(*command)

    assert (code, out) == (0, "own-fp16.safetensors\n"), err
    assert missing == 4
    assert said.startswith("error: sub/no.safetensors: not found")


def test_tilde_is_the_users_folder(krelease, two, models, here, monkeypatch):
    monkeypatch.setenv("HOME", str(models["a"].parent))

    code, out, _ = krelease("merge", "a", "-ia=~/a.safetensors", "--dry-run", "-q")

    assert (code, out) == (0, "merge-fp16.safetensors\n")
