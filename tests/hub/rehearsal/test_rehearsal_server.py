"""Start, stop and restart; and what git itself sees in the folder."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from textwrap import dedent

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, HfApi
from numpy.random import default_rng

from release.errors import UsageError
from release.hub.rehearsal import Account, RehearsalHub

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

WEIGHTS = default_rng(7).bytes(3_000)
REPO = "maker/gamma"


def git(directory: Path, *arguments: str) -> str:
    """Run git without any configuration of this machine."""
    return subprocess.run(
        ["git", "-C", str(directory), *arguments],
        check=True,
        capture_output=True,
        text=True,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "GIT_CONFIG_NOSYSTEM": "1",
        },
    ).stdout


def release(hub: RehearsalHub) -> str:
    """Publish by way of a staging branch; return the promoted commit."""
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo(REPO, exist_ok=True)
    head = api.repo_info(REPO).sha
    api.create_branch(REPO, branch="staging/rev2")
    files = {"gamma.safetensors": WEIGHTS, "unet/config.json": b'{"a": 1}\n'}
    staged = api.create_commit(
        REPO,
        [CommitOperationAdd(path, content) for path, content in files.items()],
        commit_message="Stage",
        revision="staging/rev2",
    )
    promoted = api.create_commit(
        REPO,
        [CommitOperationCopy(path, path, src_revision=staged.oid) for path in files],
        commit_message="Release gamma rev2",
        parent_commit=head,
    )
    api.create_tag(REPO, tag="rev2", revision=promoted.oid, tag_message="gamma rev2")
    api.delete_branch(REPO, branch="staging/rev2")
    return promoted.oid


def test_git_sees_one_release_commit_one_tag_and_no_staging(tmp_path):
    with RehearsalHub(tmp_path / "hub", clock=lambda: 1_700_000_000.0) as hub:
        promoted = release(hub)

    bare = hub.git_directory(REPO)
    log = git(bare, "log", "--format=%H %an %at %s").splitlines()
    assert log[0] == f"{promoted} rehearsal 1700000000 Release gamma rev2"
    assert [line.split(" ", 3)[3] for line in log[1:]] == ["initial commit"]
    assert git(bare, "tag", "-n").split() == ["rev2", "gamma", "rev2"]
    assert git(bare, "cat-file", "-t", "rev2").strip() == "tag"
    assert git(bare, "rev-parse", "rev2^{commit}").strip() == promoted
    assert git(bare, "branch", "--format=%(refname:short)").split() == ["main"]


def test_git_finds_nothing_wrong_and_clones_the_release(tmp_path, sha256_of):
    with RehearsalHub(tmp_path / "hub") as hub:
        release(hub)
        git(tmp_path, "clone", "--quiet", str(hub.git_directory(REPO)), "clone")

    git(hub.git_directory(REPO), "fsck", "--strict", "--full")
    clone = tmp_path / "clone"
    assert (clone / "unet/config.json").read_text() == '{"a": 1}\n'
    assert (clone / "gamma.safetensors").read_text() == (
        "version https://git-lfs.github.com/spec/v1\n"
        f"oid sha256:{sha256_of(WEIGHTS)}\nsize 3000\n"
    )
    assert git(clone, "status", "--porcelain") == ""


def test_a_commit_pushed_by_git_is_seen_by_the_hub(tmp_path):
    with RehearsalHub(tmp_path / "hub") as hub:
        release(hub)
        git(tmp_path, "clone", "--quiet", str(hub.git_directory(REPO)), "clone")
        (tmp_path / "clone/added.txt").write_text("by git")
        git(tmp_path / "clone", "add", "added.txt")
        author = ["-c", "user.name=a", "-c", "user.email=a@b.invalid"]
        git(tmp_path / "clone", *author, "commit", "--quiet", "-m", "By git")
        git(tmp_path / "clone", "push", "--quiet")
        git(hub.git_directory(REPO), "gc", "--quiet")

        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        assert api.list_repo_commits(REPO)[0].title == "By git"
        assert api.file_exists(REPO, "added.txt", revision="main")
        api.upload_file(path_or_fileobj=b"x", path_in_repo="more.txt", repo_id=REPO)

    assert git(hub.git_directory(REPO), "show", "main:added.txt") == "by git"


def test_a_restart_on_the_same_folder_finds_everything(tmp_path):
    with RehearsalHub(tmp_path / "hub") as first:
        promoted = release(first)
    with RehearsalHub(tmp_path / "hub") as second:
        api = HfApi(endpoint=second.endpoint, token=second.token)

        path = api.hf_hub_download(
            REPO, "gamma.safetensors", revision="rev2", cache_dir=tmp_path / "cache"
        )

        assert Path(path).read_bytes() == WEIGHTS
        assert api.repo_info(REPO).sha == promoted
    assert second.token != first.token


def test_a_hub_can_be_started_again(tmp_path):
    hub = RehearsalHub(tmp_path)
    for _ in range(2):
        with hub:
            assert HfApi(endpoint=hub.endpoint, token=hub.token).whoami()


def test_everything_stays_below_the_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with RehearsalHub(tmp_path / "hub") as hub:
        release(hub)

    assert {path.name for path in tmp_path.iterdir()} == {"hub"}


def test_the_hub_is_silent_even_about_its_own_failures(tmp_path):
    program = dedent(
        f"""
        import pathlib, httpx2
        from release.hub.rehearsal import Fault, RehearsalHub

        with RehearsalHub(pathlib.Path({str(tmp_path)!r})) as hub:
            hub.faults.plant("GET /x", Fault(before=lambda: 1 / 0))
            hub.faults.cut_response("GET /api", after_bytes=1)
            assert httpx2.get(hub.endpoint + "/x", trust_env=False).status_code == 500
            try:
                httpx2.get(hub.endpoint + "/api", trust_env=False)
            except httpx2.RemoteProtocolError:
                pass
        """
    )

    run = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )

    assert (run.stdout, run.stderr) == ("", "")


def test_a_stored_file_that_vanished_is_a_failure_of_the_server(tmp_path, sha256_of):
    with RehearsalHub(tmp_path) as hub:
        release(hub)
        digest = sha256_of(WEIGHTS)
        stored = hub.git_directory(REPO) / "lfs/objects" / digest[:2] / digest[2:4]
        (stored / digest).unlink()
        answer = httpx2.get(
            f"{hub.endpoint}/{REPO}/resolve/main/gamma.safetensors", trust_env=False
        )

    assert answer.status_code == 500
    assert "FileNotFoundError" in answer.json()["error"]


def interrupt(hub: RehearsalHub) -> None:
    with hub:
        assert httpx2.get(f"{hub.endpoint}/api", trust_env=False).status_code == 404
        raise KeyboardInterrupt


def test_leaving_by_an_exception_stops_the_thread_and_frees_the_port(tmp_path):
    before = set(threading.enumerate())
    hub = RehearsalHub(tmp_path)

    with pytest.raises(KeyboardInterrupt):
        interrupt(hub)

    assert not set(threading.enumerate()) - before
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(hub.endpoint, trust_env=False)


def test_stopping_twice_or_before_the_start_is_harmless(tmp_path):
    hub = RehearsalHub(tmp_path)

    hub.stop()
    hub.start()
    hub.stop()
    hub.stop()


def test_the_hub_listens_on_loopback_only(hub):
    assert hub.endpoint.startswith("http://127.0.0.1:")
    assert not hub.endpoint.endswith((":0", "/"))


def test_the_request_log_counts_bytes_and_answers(hub, web, repo):
    since = len(hub.requests)

    web.get(f"/{repo}/resolve/main/.gitattributes", headers={"Range": "bytes=0-9"})
    web.post("/api/validate-yaml", content=b'{"content": "x"}')
    httpx2.head(
        f"{hub.endpoint}/{repo}/resolve/main/.gitattributes?a=b", trust_env=False
    )

    get, post, head = hub.requests[since:]
    assert (get.method, get.status, get.range) == ("GET", 206, "bytes=0-9")
    assert (get.request_bytes, get.response_bytes) == (0, 10)
    assert (post.request_bytes, post.has_token) == (16, True)
    assert (head.query, head.response_bytes, head.has_token) == ("a=b", 0, False)
    assert len({get.request_id, post.request_id, head.request_id}) == 3


def test_given_accounts_replace_the_default_ones(tmp_path):
    account = Account("maker", writes=("maker/*", "team/model"))

    with RehearsalHub(tmp_path, tokens=[account]) as hub:
        api = HfApi(endpoint=hub.endpoint, token=account.token)
        me = api.whoami()
        api.create_repo("maker/anything")
        api.create_repo("team/model")

    assert hub.token == account.token
    assert (me["name"], [org["name"] for org in me["orgs"]]) == ("maker", ["team"])


def test_tokens_are_not_shown_by_repr():
    account = Account("maker")

    assert account.token not in repr(account)


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "dulwich"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    tmp_path, monkeypatch, package
):
    for name in [name for name in sys.modules if name.startswith("release.hub.reh")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(UsageError, match=package) as error:
        RehearsalHub(tmp_path).start()

    assert error.value.code == "rehearse-extra-missing"
    assert 'pip install "krelease[rehearse]"' in error.value.hint


def test_importing_the_package_loads_none_of_the_extra_packages():
    program = (
        "import sys, release.hub.rehearsal; "
        "print(sorted({'starlette', 'uvicorn', 'dulwich', 'yaml'} & set(sys.modules)))"
    )

    run = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )

    assert run.stdout.strip() == "[]"
