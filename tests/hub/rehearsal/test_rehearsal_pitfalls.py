"""Details of the protocol on which clients break when a Hub gets them wrong."""

import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import httpx2
import pytest
from huggingface_hub.errors import (
    BadRequestError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from numpy.random import default_rng

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

WEIGHTS = default_rng(4).bytes(3_000)


def commit_lines(*lines, **header):
    """The NDJSON body of a commit: a header, then `(key, value)` pairs."""
    import json

    first = {"key": "header", "value": {"summary": "s", "description": "", **header}}
    rest = [{"key": key, "value": value} for key, value in lines]
    return "\n".join(json.dumps(line) for line in [first, *rest]).encode()


def test_1_the_conflict_of_create_repo_names_the_repository(hub, web, repo):
    namespace, name = repo.split("/")

    answer = web.post(
        "/api/repos/create", json={"organization": namespace, "name": name}
    )

    assert answer.status_code == 409
    assert answer.json()["url"] == f"{hub.endpoint}/{repo}"


def test_2_files_are_served_without_a_redirect_and_name_their_commit(web, repo, push):
    commit = push(repo, {"model.safetensors": WEIGHTS}).oid

    answer = web.get(f"/{repo}/resolve/main/model.safetensors")

    assert answer.status_code == 200
    assert answer.headers["X-Repo-Commit"] == commit
    assert "Content-Encoding" not in answer.headers


def test_3_paths_info_takes_a_form_and_no_json(web, repo):
    url = f"/api/models/{repo}/paths-info/main"

    form = web.post(url, data={"paths": [".gitattributes"], "expand": "false"})
    json = web.post(url, json={"paths": [".gitattributes"]})

    assert [entry["path"] for entry in form.json()] == [".gitattributes"]
    assert json.status_code == 400


def test_4_preupload_tells_what_a_path_holds_now(api, web, repo, push):
    push(repo, {"model.safetensors": WEIGHTS, "a.txt": b"1"})
    paths = ["model.safetensors", "a.txt", "new.txt"]
    files = [{"path": path, "sample": "", "size": 1} for path in paths]

    answer = web.post(f"/api/models/{repo}/preupload/main", json={"files": files})

    large, regular = api.get_paths_info(repo, paths)
    oids = [file.get("oid") for file in answer.json()["files"]]
    assert oids == [large.lfs.sha256, regular.blob_id, None]


def test_5_preupload_always_says_whether_to_ignore(web, repo):
    files = [{"path": "a.txt", "sample": "", "size": 1}]

    answer = web.post(f"/api/models/{repo}/preupload/main", json={"files": files})

    assert answer.json()["files"][0]["shouldIgnore"] is False


def test_6_a_card_is_pushed_where_the_environment_points(hub, repo, tmp_path):
    program = dedent(
        f"""
        from huggingface_hub import ModelCard
        ModelCard("---\\nlicense: mit\\n---\\n# Card\\n").push_to_hub({repo!r})
        """
    )
    since = len(hub.requests)

    subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        env={
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(tmp_path),
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": hub.token,
            "NO_PROXY": "127.0.0.1",
        },
    )

    validations = [
        seen for seen in hub.requests[since:] if seen.path == "/api/validate-yaml"
    ]
    assert [seen.has_token for seen in validations] == [False, True]


def test_7_a_stale_parent_is_refused_and_changes_nothing(api, repo, push):
    stale = api.repo_info(repo).sha
    head = push(repo, {"a.txt": b"1"}).oid

    with pytest.raises(HfHubHTTPError) as error:
        push(repo, {"a.txt": b"2"}, parent_commit=stale)

    assert error.value.response.status_code == 412
    assert "The branch was updated" in str(error.value)
    assert api.repo_info(repo).sha == head


def test_8_a_large_file_that_was_never_uploaded_is_refused(api, web, repo):
    head = api.repo_info(repo).sha
    line = ("lfsFile", {"path": "a.bin", "algo": "sha256", "oid": "ab" * 32})

    answer = web.post(
        f"/api/models/{repo}/commit/main", content=commit_lines(line, parentCommit=head)
    )

    assert answer.status_code == 400
    assert "LFS pointer pointed to a file that does not exist" in answer.text
    assert api.repo_info(repo).sha == head


def test_8_a_wrong_size_of_a_stored_file_is_refused(api, web, repo, push):
    push(repo, {"a.bin": WEIGHTS})
    (file,) = api.get_paths_info(repo, "a.bin")
    value = {"path": "b.bin", "algo": "sha256", "oid": file.lfs.sha256, "size": 1}

    answer = web.post(
        f"/api/models/{repo}/commit/main", content=commit_lines(("lfsFile", value))
    )

    assert answer.status_code == 400


def test_9_each_kind_of_missing_thing_has_its_exception(api, repo, tmp_path):
    with pytest.raises(RepositoryNotFoundError):
        api.repo_info("maker/nothing")
    with pytest.raises(RevisionNotFoundError):
        api.repo_info(repo, revision="nothing")
    with pytest.raises(RemoteEntryNotFoundError):
        api.hf_hub_download(repo, "nothing", cache_dir=tmp_path)


def test_9_a_missing_repository_asks_strangers_to_sign_in(hub, web):
    url = f"{hub.endpoint}/api/models/maker/nothing"

    strange = httpx2.get(url, trust_env=False)
    known = web.get(url)

    assert (strange.status_code, known.status_code) == (401, 404)
    assert strange.headers["X-Error-Code"] == known.headers["X-Error-Code"]


def test_10_slashes_in_branch_names_and_in_paths_stay_apart(api, web, repo, push):
    api.create_branch(repo, branch="staging/x")
    push(repo, {"unet/c.json": b"{}"}, revision="staging/x")

    quoted = web.get(f"/api/models/{repo}/tree/staging%2Fx/unet")
    confused = web.get(f"/api/models/{repo}/tree/staging/x/unet")
    file = web.get(f"/{repo}/resolve/staging%2Fx/unet/c.json")

    assert [entry["path"] for entry in quoted.json()] == ["unet/c.json"]
    assert confused.headers["X-Error-Code"] == "RevisionNotFound"
    assert file.content == b"{}"


def test_10_odd_characters_in_paths_survive(api, repo, push, tmp_path):
    path = "ünet %2F/a b+c#?.txt"

    push(repo, {path: b"odd"})

    assert path in api.list_repo_files(repo)
    assert api.get_paths_info(repo, path)[0].path == path
    assert Path(api.hf_hub_download(repo, path, cache_dir=tmp_path)).read_text() == (
        "odd"
    )


@pytest.mark.parametrize("path", ["model.tmp", "deep/a.tmp", "logs/run/one.txt"])
def test_11_ignored_files_silently_stay_out_of_the_commit(api, repo, push, path):
    push(repo, {".gitignore": b"# comment\n*.tmp\nlogs/\n"})

    push(repo, {path: b"x", "kept.txt": b"y"})

    assert api.list_repo_files(repo) == [".gitattributes", ".gitignore", "kept.txt"]


def test_11_rules_that_come_with_the_commit_apply_to_it(api, repo, push):
    push(repo, {".gitignore": b"*.tmp\n", "a.tmp": b"x"})

    assert not api.file_exists(repo, "a.tmp")


def test_12_a_commit_of_unchanged_files_is_not_sent_and_its_parent_not_checked(
    hub, api, repo, push
):
    stale = api.repo_info(repo).sha
    head = push(repo, {"a.txt": b"1", "m.bin": WEIGHTS}).oid
    since = len(hub.requests)

    again = push(repo, {"a.txt": b"1", "m.bin": WEIGHTS}, parent_commit=stale)

    assert again.oid == head
    assert not [seen for seen in hub.requests[since:] if "/commit/" in seen.path]


@pytest.mark.parametrize(
    ("first", "second"), [("staging", "staging/x"), ("staging/x", "staging")]
)
def test_13_a_branch_cannot_be_a_folder_of_branches(api, repo, first, second):
    api.create_branch(repo, branch=first)

    with pytest.raises(HfHubHTTPError) as error:
        api.create_branch(repo, branch=second)

    assert error.value.response.status_code == 409
    assert not api.revision_exists(repo, second)


def test_13_holds_for_branches_that_git_has_packed(hub, api, repo):
    api.create_branch(repo, branch="staging/x")
    bare = hub.git_directory(repo)
    subprocess.run(["git", "-C", str(bare), "pack-refs", "--all"], check=True)
    shutil.rmtree(bare / "refs/heads/staging", ignore_errors=True)

    with pytest.raises(HfHubHTTPError) as error:
        api.create_branch(repo, branch="staging")

    assert error.value.response.status_code == 409


def test_unknown_routes_answer_json(web, repo):
    answers = [
        web.get("/api/unknown"),
        web.get(f"/api/models/{repo}/xet-write-token/main"),
        web.put("/api/whoami-v2"),
        web.get("/api/models/a/b/c/d/e"),
    ]

    assert [answer.status_code for answer in answers] == [404, 404, 405, 404]
    assert all(answer.json()["error"] for answer in answers)
    assert all(answer.headers["X-Request-Id"] for answer in answers)


@pytest.mark.parametrize(
    "path", ["../a", "a/../b", "/a", "a//b", ".git/config", "a/.GIT/x", "", ".", "a\0b"]
)
def test_a_path_that_no_tree_may_hold_is_refused(api, web, repo, path):
    head = api.repo_info(repo).sha
    line = ("file", {"path": path, "content": "eA==", "encoding": "base64"})

    answer = web.post(f"/api/models/{repo}/commit/main", content=commit_lines(line))

    assert answer.status_code == 400
    assert api.repo_info(repo).sha == head


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b'{"key": "file", "value": {}}',
        b'{"key": "header", "value": 1}',
        b'{"key": "header", "value": {"summary": 1}}',
        b'{"key": "header", "value": {"summary": "\\ud800"}}',
        b'{"key": "header", "value": {"summary": "a\\u0000b"}}',
        commit_lines(parentCommit="xyz"),
        commit_lines(("unknown", {"path": "a"})),
        commit_lines(("file", {"path": "a", "content": "***"})),
        commit_lines(("file", {"path": "a", "content": "", "encoding": "utf-8"})),
        commit_lines(("file", {"content": ""})),
        commit_lines(("lfsFile", {"path": "a", "oid": "ab" * 32, "size": -1})),
        b"[" * 100_000,
    ],
)
def test_a_body_that_is_no_commit_is_refused(web, repo, body):
    answer = web.post(f"/api/models/{repo}/commit/main", content=body)

    assert answer.status_code == 400
    assert answer.headers["X-Error-Message"]


@pytest.mark.parametrize(
    "repo_id", ["%2e%2e/x", "a/%2e%2e", "a/b%2Fc", "-a/b", "a/b.git"]
)
def test_a_repository_name_cannot_leave_the_folder(web, repo_id):
    assert web.get(f"/api/models/{repo_id}").status_code == 400


def test_the_smallest_commit_is_accepted(api, web, repo):
    line = ("file", {"path": "a.txt", "content": "eA==", "encoding": "base64"})

    answer = web.post(f"/api/models/{repo}/commit/main", content=commit_lines(line))

    assert answer.json()["commitOid"] == api.repo_info(repo).sha
    assert answer.json()["commitUrl"].endswith(
        f"/{repo}/commit/{answer.json()['commitOid']}"
    )


def test_operations_apply_in_their_order(api, web, repo):
    add = ("file", {"path": "a.txt", "content": "eA==", "encoding": "base64"})
    delete = ("deletedFile", {"path": "a.txt"})
    url = f"/api/models/{repo}/commit/main"

    removed = web.post(url, content=commit_lines(add, delete))
    gone = api.file_exists(repo, "a.txt")
    refused = web.post(url, content=commit_lines(delete, add))

    assert (removed.status_code, refused.status_code, gone) == (200, 404, False)


def test_an_unknown_uploader_is_refused_before_anything_is_stored(hub, web, repo):
    headers = {"Authorization": "Bearer hf_unknown"}
    wanted = {"operation": "upload", "objects": []}

    answer = web.post(
        f"/{repo}.git/info/lfs/objects/batch", json=wanted, headers=headers
    )

    assert answer.status_code == 401


def test_the_error_of_a_refused_file_names_it(repo, push):
    with pytest.raises(BadRequestError, match="unet is a file"):
        push(repo, {"unet": b"1", "unet/a.txt": b"2"})
