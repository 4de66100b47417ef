"""The real publish, without --rehearse, to a Hub that runs in the test's process."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest

from release.hub.client import connect
from release.hub.rehearsal import RehearsalHub

REPO = "KBlueLeaf/Kohaku-XL-gamma"
HUB_INGREDIENTS = {"base8": "maker/base8", "anxl2": "maker/anxl2"}

Git = Callable[..., str]
Define = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def hub(running_hub: RehearsalHub) -> RehearsalHub:
    """The Hub without faults, and without what an earlier test published."""
    running_hub.faults.clear()
    shutil.rmtree(running_hub.git_directory(REPO), ignore_errors=True)
    return running_hub


@pytest.fixture
def git(hub: RehearsalHub) -> Git:
    def ask(*arguments: str, repo: str = REPO) -> str:
        command = ["git", "--git-dir", str(hub.git_directory(repo)), *arguments]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        return run.stdout.strip()

    return ask


@pytest.fixture
def on_the_hub(hub: RehearsalHub, ingredients: Mapping[str, Path]) -> dict[str, str]:
    """Upload two ingredients to repositories of their own; return those."""
    with connect(hub.endpoint, hub.token, lfs_only=True) as connection:
        for name, repo in HUB_INGREDIENTS.items():
            connection.api.create_repo(repo, exist_ok=True)
            upload = partial(
                connection.api.upload_file,
                path_or_fileobj=ingredients[name],
                path_in_repo=f"{name}.safetensors",
                repo_id=repo,
            )
            connection.once(f"{repo}: upload", upload)
    return HUB_INGREDIENTS


@pytest.fixture
def mine(define: Define, ingredients: Mapping[str, Path], on_the_hub: dict[str, str]):
    """A definition of one's own: two ingredients at hand, two on the Hub."""
    at_hand = {n: path for n, path in ingredients.items() if n not in on_the_hub}
    return define("mine", paths=at_hand, hub=on_the_hub)


@pytest.fixture
def configured(hub: RehearsalHub) -> dict[str, str]:
    """The variables by which a user tells huggingface_hub where to go, and as whom."""
    return {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": hub.token}


@pytest.fixture
def publish_here(
    krelease: Run, hub: RehearsalHub, release_folder: Path, tmp_path: Path
) -> Iterator[Run]:
    """Publish what is built already, in this process, as a configured user."""
    shutil.copytree(release_folder, tmp_path / "gamma-rev2")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        patch.setattr("release.hub.client.WAITS_SECONDS", ())
        patch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        patch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no"))

        def run(
            *options: object, endpoint: str = hub.endpoint, token: str = hub.token
        ) -> tuple[int, str, str]:
            patch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
            template = f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
            patch.setattr(
                "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template
            )
            patch.setenv("HF_TOKEN", token)
            return krelease("publish", "gamma-rev2", *options)

        yield run


@pytest.fixture
def refused(
    publish_here: Run, given: list[str], listing: Run, tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Publish, which must fail and change nothing here: code, message, hint."""

    def run(**account: str) -> tuple[int, str, str]:
        before = listing(tmp_path)
        code, out, err = publish_here(*given, **account)
        assert out == ""
        assert listing(tmp_path) == before
        *_, error, hint = err.splitlines()
        return code, error.removeprefix("error: "), hint.removeprefix("hint: ")

    return run


def test_release_is_published_once_with_its_hub_ingredients_pinned(
    spawn, mine, hub, configured, git
):
    command = ("publish", "mine", "--repo", REPO, "--json")

    first = spawn(*command, env=configured)
    n_requests = len(hub.requests)
    second = spawn(*command, env=configured)

    assert (first.returncode, second.returncode) == (0, 0)
    done, again = json.loads(first.stdout), json.loads(second.stdout)
    assert (done["schema"], done["built"], done["n_uploaded"] > 5) == (
        "krelease.publish/1",
        True,
        True,
    )
    assert (again["already_published"], again["built"], again["n_uploaded"]) == (
        True,
        False,
        0,
    )
    assert {request.method for request in hub.requests[n_requests:]} <= {"GET", "HEAD"}
    assert git("log", "--format=%s", "main") == "Release mine"
    assert git("rev-parse", "rev2^{commit}") == done["commit"] == again["commit"]
    assert git("branch", "--format=%(refname:short)") == "main"
    manifest = json.loads(git("show", "rev2:manifest.json"))
    pinned = {i["name"]: i.get("commit") for i in manifest["ingredients"]}
    assert pinned == {
        "anxl2": git("rev-parse", "main", repo="maker/anxl2"),
        "anxl3": None,
        "base8": git("rev-parse", "main", repo="maker/base8"),
        "beta7": None,
    }
    assert f"fetch base8: maker/base8/base8.safetensors at {pinned['base8']}" in (
        first.stderr
    )
    assert spawn("verify", "mine", "--sha256").returncode == 0


def test_second_publish_says_that_there_is_nothing_to_do(publish_here, hub, given):
    code, out, err = publish_here(*given)
    code_again, out_again, err_again = publish_here(*given)

    assert (code, code_again) == (0, 0), err
    assert f"Published, fetched back and compared: {REPO} tag rev2, commit " in out
    assert f"Nothing to do: already published as {REPO} tag rev2" in out_again
    assert "upload" not in err_again
    assert f"{hub.endpoint}/{REPO}/tree/rev2" in out


def test_another_build_under_the_same_tag_is_refused(publish_here, given, git):
    swapped = [given[0].replace("anxl2.safe", "anxl3.safe"), *given[1:]]
    publish_here(*given)
    published = git("rev-parse", "main")

    code, out, err = publish_here(*swapped, "--force")

    assert (code, out) == (8, "")
    assert f"error: {REPO}: " in err
    assert "hint: " in err
    assert git("rev-parse", "main") == published


def test_unknown_token_is_refused_before_anything_is_built(refused):
    code, message, hint = refused(token="hf_" + "x" * 34)

    assert code == 8
    assert "HTTP 401" in message
    assert "hf_xxx" not in message
    assert "HF_TOKEN" in hint


def test_missing_token_is_refused(refused):
    code, message, hint = refused(token="")

    assert code == 8
    assert "no access token is configured" in message
    assert "hf auth login" in hint


def test_token_that_may_not_write_is_refused(refused, hub):
    code, message, hint = refused(token=hub.accounts[1].token)

    assert code == 8
    assert message.startswith(f"{REPO}: ")
    assert "write access" in hint


def test_main_that_moved_meanwhile_is_not_overwritten(refused, hub, git):
    hub.faults.move_main_before_commit(REPO, skip=1)

    code, message, hint = refused(token=hub.token)

    assert code == 8
    assert message.startswith(f"{REPO}: ")
    assert "run again" in hint
    assert git("log", "-1", "--format=%s", "main") == "Move main"
    assert git("tag") == ""


def test_hub_that_cannot_be_reached_is_refused(refused):
    code, message, hint = refused(endpoint="http://127.0.0.1:9")

    assert code == 8
    assert message.startswith("http://127.0.0.1:9: ")
    assert "network" in hint
