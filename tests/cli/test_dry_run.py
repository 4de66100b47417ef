"""A dry run writes nothing, and says what the run then does."""

import json
from pathlib import Path

import pytest

from release.hub.rehearsal import RehearsalHub


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def at_hub(running_hub: RehearsalHub, monkeypatch: pytest.MonkeyPatch) -> RehearsalHub:
    """Let this process be configured for the Hub on loopback."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", running_hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", running_hub.token)
    return running_hub


def planned(answer: tuple[int, str, str]) -> dict[str, int]:
    """Return the known sizes of a plan by file name."""
    code, out, _ = answer
    assert code == 0
    files = json.loads(out)["files"]
    return {file["name"]: file["nbytes"] for file in files if file["nbytes"]}


def sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir()}


def test_build_plan_writes_nothing_and_is_exact(krelease, given, listing, workplace):
    before = listing(workplace)
    plan = planned(krelease("build", "gamma-rev2", *given, "--dry-run", "--json"))
    after = listing(workplace)
    krelease("build", "gamma-rev2", *given)

    built = sizes(workplace / "gamma-rev2")
    assert before == after
    assert plan.keys() == built.keys() - {"README.md", "manifest.json"}
    assert plan == {name: built[name] for name in plan}


def test_rehearsal_plan_writes_nothing_and_is_exact(krelease, listing, workplace):
    before = listing(workplace)
    arguments = ("publish", "gamma-rev2", "--rehearse", "--out", "here")
    plan = planned(krelease(*arguments, "--dry-run", "--json"))
    after = listing(workplace)
    code, out, _ = krelease(*arguments, "--json")

    built = sizes(workplace / "here" / "release")
    assert before == after
    assert code == 0
    assert json.loads(out)["stand_ins"] == ["anxl2", "anxl3", "base8", "beta7"]
    assert plan == {name: built[name] for name in plan}
    assert "kohaku-xl-gamma-rev2-fp8.zip" in plan


def test_convert_plan_writes_nothing_and_is_exact(
    krelease, ingredients, listing, workplace
):
    arguments = ("convert", ingredients["beta7"], "--to=fp8", "--to=bf16", "--out=new")
    before = listing(workplace)
    _, out, _ = krelease(*arguments, "--dry-run", "--json")
    after = listing(workplace)
    krelease(*arguments)

    plan = {
        Path(file["path"]).name: file["nbytes"]
        for variant in json.loads(out)["variants"]
        for file in variant["files"]
    }
    written = sizes(workplace / "new")
    assert before == after == {}
    assert len(plan) == 2
    assert plan == {name: written[name] for name in plan}


def test_publish_plan_only_reads_from_the_hub(
    krelease, given, at_hub, listing, workplace
):
    before = listing(workplace)
    code, out, _ = krelease("publish", "gamma-rev2", *given, "--dry-run", "--json")

    asked = {
        request.method
        for request in at_hub.requests
        if not ("/paths-info/" in request.path and request.method == "POST")
    }
    hub = json.loads(out)["hub"]
    assert code == 0
    assert listing(workplace) == before
    assert asked <= {"GET", "HEAD"}
    assert (hub["account"], hub["repo_exists"]) == ("rehearsal", False)
    assert {file["state"] for file in hub["files"]} == {"new"}


def test_publish_plan_needs_no_token(krelease, given, at_hub, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no"))

    code, out, _ = krelease("publish", "gamma-rev2", *given, "--dry-run")

    assert code == 0
    assert "nobody: no token is configured" in out


def test_plan_with_a_missing_ingredient_is_shown_and_then_refused(
    krelease, define, ingredients
):
    define("own", paths={k: v for k, v in ingredients.items() if k != "base8"})

    code, out, err = krelease("build", "own", "--dry-run")

    assert code == 3
    assert "  base8  missing" in out
    assert err.startswith("error: missing ingredient: base8 ")


def test_plan_for_people_has_its_sizes_below_each_other(krelease, given):
    _, out, _ = krelease("build", "gamma-rev2", *given, "--dry-run")

    lines = [line for line in out.splitlines() if line.endswith(("MB", "kB", " B"))]
    files = [line for line in lines if "bytes" in line]
    assert len(files) == 7
    assert len({line.index(" bytes") for line in files}) == 1
    assert len({len(line) for line in files}) == 1


def test_plan_says_when_the_target_is_there_already(krelease, given, workplace):
    (workplace / "gamma-rev2").mkdir()
    (workplace / "gamma-rev2" / "manifest.json").touch()

    _, out, _ = krelease("build", "gamma-rev2", *given, "--dry-run")
    _, forced, _ = krelease("build", "gamma-rev2", *given, "--dry-run", "--force")

    assert "gamma-rev2 already exists; pass --force to replace it" in out
    assert "already exists" not in forced


def test_plan_of_a_full_size_build_works_without_any_weights(krelease, define):
    define("own")

    code, out, _ = krelease("build", "own", "--dry-run", "--json")

    plan = json.loads(out)
    checkpoints = [f["nbytes"] for f in plan["files"] if f["role"] == "checkpoint"]
    assert code == 3
    assert not plan["sizes_are_exact"]
    assert 6_938_000_000 < checkpoints[0] < 6_940_000_000
    assert plan["needed_nbytes"] > sum(checkpoints)
