"""Uploads and commits, through the real client."""

import subprocess

import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
)
from huggingface_hub.errors import (
    BadRequestError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RevisionNotFoundError,
)
from numpy.random import default_rng

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

WEIGHTS = default_rng(1).bytes(4_000)
LARGE = default_rng(2).bytes(25_001)
"""Three parts of at most 10,000 bytes."""


def sent(hub, method, part, since=0):
    return [
        seen
        for seen in hub.requests[since:]
        if seen.method == method and part in seen.path
    ]


def git_blob_id(content):
    command = ["git", "hash-object", "--stdin"]
    run = subprocess.run(command, input=content, check=True, capture_output=True)
    return run.stdout.decode().strip()


def test_a_commit_brings_large_regular_and_empty_files_at_once(
    api, repo, push, sha256_of
):
    commit = push(
        repo,
        {"model.safetensors": WEIGHTS, "config.json": b"{}\n", "empty.txt": b""},
    )

    info = api.repo_info(repo, files_metadata=True)
    files = {sibling.rfilename: sibling for sibling in info.siblings}
    assert info.sha == commit.oid
    assert files["model.safetensors"].lfs.sha256 == sha256_of(WEIGHTS)
    assert files["model.safetensors"].size == len(WEIGHTS)
    assert files["config.json"].blob_id == git_blob_id(b"{}\n")
    assert files["config.json"].lfs is None
    assert (files["empty.txt"].size, files["empty.txt"].lfs) == (0, None)


def test_the_blob_id_of_a_large_file_is_that_of_its_pointer(api, repo, push, sha256_of):
    push(repo, {"model.safetensors": WEIGHTS})

    (file,) = api.get_paths_info(repo, "model.safetensors")
    pointer = (
        "version https://git-lfs.github.com/spec/v1\n"
        f"oid sha256:{sha256_of(WEIGHTS)}\nsize {len(WEIGHTS)}\n"
    ).encode()
    assert file.blob_id == git_blob_id(pointer)
    assert file.lfs.pointer_size == len(pointer)


def test_a_large_file_arrives_in_parts(hub, repo, push, sha256_of):
    since = len(hub.requests)

    push(repo, {"model.safetensors": LARGE})

    parts = sent(hub, "PUT", ".git/info/lfs/objects/", since)
    digest = sha256_of(LARGE)
    stored = hub.git_directory(repo) / "lfs/objects" / digest[:2] / digest[2:4] / digest
    assert [part.request_bytes for part in parts] == [10_000, 10_000, 5_001]
    assert not any(part.has_token for part in parts)
    assert stored.read_bytes() == LARGE
    assert not list((hub.git_directory(repo) / "lfs/incomplete").iterdir())


@pytest.mark.parametrize("size", [10_000, 10_001, 20_000])
def test_the_number_of_parts_fits_the_size(*, hub, api, repo, push, size, sha256_of):
    since = len(hub.requests)
    content = default_rng(size).bytes(size)

    push(repo, {"model.safetensors": content})

    n_parts = -(-size // 10_000)
    assert len(sent(hub, "PUT", "/lfs/objects/", since)) == n_parts
    (file,) = api.get_paths_info(repo, "model.safetensors")
    assert file.lfs.sha256 == sha256_of(content)


def test_files_uploaded_before_are_not_sent_again_by_the_commit(hub, api, repo):
    operation = CommitOperationAdd("model.safetensors", WEIGHTS)
    api.preupload_lfs_files(repo, [operation])
    since = len(hub.requests)

    api.create_commit(repo, [operation], commit_message="Add")

    assert not sent(hub, "PUT", "", since)
    assert api.file_exists(repo, "model.safetensors")


def test_stored_bytes_are_not_uploaded_again_under_another_name(hub, repo, push):
    push(repo, {"a.safetensors": WEIGHTS})
    since = len(hub.requests)

    push(repo, {"b.safetensors": WEIGHTS})

    assert not sent(hub, "PUT", "", since)


def test_another_repository_does_not_share_stored_bytes(hub, api, repo, push):
    push(repo, {"a.safetensors": WEIGHTS})
    other = api.create_repo("maker/other").repo_id
    since = len(hub.requests)

    push(other, {"a.safetensors": WEIGHTS})

    assert len(sent(hub, "PUT", "", since)) == 1


@pytest.mark.parametrize("content", [WEIGHTS, LARGE], ids=["whole", "parts"])
def test_bytes_that_are_not_what_was_announced_are_refused(
    api, repo, content, sha256_of
):
    operation = CommitOperationAdd("model.safetensors", content)
    operation.upload_info.sha256 = bytes.fromhex(sha256_of(b"something else"))

    with pytest.raises(RuntimeError, match="Error while uploading") as error:
        api.create_commit(repo, [operation], commit_message="Add")

    assert error.value.__cause__.response.status_code == 400
    assert not api.file_exists(repo, "model.safetensors")


@pytest.mark.parametrize(
    ("path", "content", "is_large"),
    [
        ("model.safetensors", b"x", True),
        ("old.ckpt", b"x", True),
        ("folder/preview.png", b"x", True),
        ("vocab.json", b"{}", False),
        ("notes.txt", b"plain", False),
        ("notes.dat", b"with \0 inside", True),
        ("big.txt", b"x" * (10 * 1024 * 1024), False),
        ("bigger.txt", b"x" * (10 * 1024 * 1024 + 1), True),
    ],
)
def test_the_hub_decides_what_is_a_large_file(api, repo, path, content, is_large):
    operation = CommitOperationAdd(path, content)

    mode = _upload_mode(api, repo, operation)

    assert mode == ("lfs" if is_large else "regular")


def _upload_mode(api: HfApi, repo: str, operation: CommitOperationAdd) -> str:
    from huggingface_hub._commit_api import _fetch_upload_modes

    _fetch_upload_modes(
        [operation],
        repo_type="model",
        repo_id=repo,
        headers=api._build_hf_headers(),
        revision="main",
        endpoint=api.endpoint,
    )
    return operation._upload_mode


def test_a_fresh_parent_is_accepted_in_full_and_in_short(api, repo, push):
    first = push(repo, {"a.txt": b"1"}, parent_commit=api.repo_info(repo).sha)

    second = push(repo, {"a.txt": b"2"}, parent_commit=first.oid[:7])

    assert [c.commit_id for c in api.list_repo_commits(repo)][:2] == [
        second.oid,
        first.oid,
    ]


def test_a_parent_that_does_not_exist_is_not_found(repo, push):
    with pytest.raises(RevisionNotFoundError):
        push(repo, {"a.txt": b"1"}, parent_commit="0" * 40)


def test_a_commit_can_go_to_a_branch_and_leaves_main_alone(api, repo, push):
    head = api.repo_info(repo).sha
    api.create_branch(repo, branch="staging/gamma")

    commit = push(repo, {"a.txt": b"1"}, revision="staging/gamma")

    assert api.repo_info(repo, revision="staging/gamma").sha == commit.oid
    assert api.repo_info(repo).sha == head


def test_a_commit_to_a_tag_or_a_commit_id_is_refused(api, repo, push):
    head = api.repo_info(repo).sha
    api.create_tag(repo, tag="v1")

    with pytest.raises(BadRequestError, match="not a branch"):
        push(repo, {"a.txt": b"1"}, revision="v1")
    with pytest.raises(BadRequestError, match="not a branch"):
        push(repo, {"a.txt": b"1"}, revision=head)
    with pytest.raises(RevisionNotFoundError):
        push(repo, {"a.txt": b"1"}, revision="nothing")


def test_files_and_folders_are_deleted(api, repo, push):
    push(repo, {"a.txt": b"1", "unet/b.txt": b"2", "unet/deep/c.txt": b"3"})

    api.create_commit(
        repo,
        [CommitOperationDelete("a.txt"), CommitOperationDelete("unet/")],
        commit_message="Delete",
    )

    assert api.list_repo_files(repo) == [".gitattributes"]


def test_deleting_what_is_not_there_is_not_found(api, repo):
    with pytest.raises(RemoteEntryNotFoundError, match="doesn't exist"):
        api.delete_file("nothing.txt", repo)


def test_a_path_cannot_be_a_file_and_a_folder(repo, push):
    push(repo, {"unet": b"1"})

    with pytest.raises(BadRequestError, match="as a folder"):
        push(repo, {"unet/a.txt": b"2"})


def test_copies_from_a_commit_bring_large_files_without_an_upload(hub, api, repo, push):
    api.create_branch(repo, branch="staging/x")
    files = {"model.safetensors": WEIGHTS, "config.json": b"{}"}
    staged = push(repo, files, revision="staging/x")
    since = len(hub.requests)

    api.create_commit(
        repo,
        [CommitOperationCopy(path, path, src_revision=staged.oid) for path in files],
        commit_message="Promote",
        parent_commit=api.repo_info(repo).sha,
    )

    promoted = {f.path: f.blob_id for f in api.list_repo_tree(repo)}
    source = {f.path: f.blob_id for f in api.list_repo_tree(repo, revision=staged.oid)}
    assert promoted == source
    assert not sent(hub, "PUT", "", since)


def test_a_pull_request_is_opened_without_touching_main(api, repo, push):
    head = api.repo_info(repo).sha

    first = push(repo, {"model.safetensors": WEIGHTS}, create_pr=True)
    second = push(repo, {"a.txt": b"1"}, create_pr=True)

    assert (first.pr_num, first.pr_revision) == (1, "refs/pr/1")
    assert second.pr_num == 2
    assert api.repo_info(repo).sha == head
    assert api.repo_info(repo, revision="refs/pr/1").sha == first.oid
    pulls = api.list_repo_refs(repo, include_pull_requests=True).pull_requests
    assert [pull.ref for pull in pulls] == ["refs/pr/1", "refs/pr/2"]


def test_a_pull_request_can_be_continued(api, repo, push):
    push(repo, {"a.txt": b"1"}, create_pr=True)

    commit = push(repo, {"b.txt": b"2"}, revision="refs/pr/1")

    assert api.repo_info(repo, revision="refs/pr/1").sha == commit.oid
    assert "b.txt" in api.list_repo_files(repo, revision="refs/pr/1")


def test_a_reader_may_open_a_pull_request(hub, api, repo):
    reader = HfApi(endpoint=hub.endpoint, token=hub.accounts[1].token)

    commit = reader.create_commit(
        repo,
        [CommitOperationAdd("model.safetensors", WEIGHTS)],
        commit_message="Suggest",
        create_pr=True,
    )

    assert api.repo_info(repo, revision=commit.pr_revision).sha == commit.oid


def test_the_commit_carries_summary_description_and_author(api, repo):
    api.create_commit(
        repo,
        [CommitOperationAdd("a.txt", b"1")],
        commit_message="Add the variants",
        commit_description="fp16 and fp8",
    )

    newest = api.list_repo_commits(repo)[0]
    assert (newest.title, newest.message) == ("Add the variants", "fp16 and fp8")
    assert newest.authors == ["rehearsal"]


def test_upload_folder_twice_commits_once(hub, api, repo, tmp_path):
    folder = tmp_path / "release"
    (folder / "unet").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "unet/config.json").write_text("{}")
    first = api.upload_folder(folder_path=folder, repo_id=repo)
    since = len(hub.requests)

    second = api.upload_folder(folder_path=folder, repo_id=repo)

    assert second.oid == first.oid
    assert not sent(hub, "POST", "/commit/", since)
    assert not sent(hub, "PUT", "", since)


def test_a_card_that_is_not_yaml_stops_the_commit_before_the_upload(hub, repo, push):
    since = len(hub.requests)

    with pytest.raises(ValueError, match="Invalid metadata"):
        push(repo, {"README.md": b"---\na: [\n---\n", "m.safetensors": WEIGHTS})

    assert [seen.path for seen in hub.requests[since:]] == ["/api/validate-yaml"]


def test_a_card_without_metadata_is_warned_about(repo, push):
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        push(repo, {"README.md": b"# No metadata\n"})


def test_a_batch_may_not_name_more_than_256_files(web, repo):
    file = {"path": "a.txt", "sample": "", "size": 1}
    oid = {"oid": "0" * 64, "size": 1}

    preupload = web.post(
        f"/api/models/{repo}/preupload/main", json={"files": [file] * 257}
    )
    batch = web.post(
        f"/{repo}.git/info/lfs/objects/batch",
        json={"operation": "upload", "objects": [oid] * 257},
    )

    assert (preupload.status_code, batch.status_code) == (400, 400)


def test_an_announced_size_that_differs_from_the_stored_one_is_an_error(
    web, repo, push, sha256_of
):
    push(repo, {"a.safetensors": WEIGHTS})

    answer = web.post(
        f"/{repo}.git/info/lfs/objects/batch",
        json={
            "operation": "upload",
            "objects": [{"oid": sha256_of(WEIGHTS), "size": 1}],
        },
    )

    assert answer.json()["objects"][0]["error"]["code"] == 422


def test_an_object_larger_than_any_file_may_be_is_an_error(web, repo):
    wanted = {"oid": "ab" * 32, "size": 10**30}

    answer = web.post(
        f"/{repo}.git/info/lfs/objects/batch",
        json={"operation": "upload", "objects": [wanted]},
    )

    assert answer.json()["objects"][0]["error"]["code"] == 413


def test_an_upload_url_opens_nothing_without_its_ticket(web, repo, sha256_of):
    digest = sha256_of(WEIGHTS)

    answer = web.put(
        f"/{repo}.git/info/lfs/objects/{digest}/{'0' * 32}", content=WEIGHTS
    )

    assert answer.status_code == 403


def test_a_ticket_of_one_repository_opens_no_other(api, web, repo, sha256_of):
    other = api.create_repo("maker/ticketless").repo_id
    wanted = {"oid": sha256_of(WEIGHTS), "size": len(WEIGHTS)}
    batch = web.post(
        f"/{repo}.git/info/lfs/objects/batch",
        json={"operation": "upload", "objects": [wanted]},
    ).json()
    href = batch["objects"][0]["actions"]["upload"]["href"]

    elsewhere = web.put(href.replace(repo, other), content=WEIGHTS)
    here = web.put(href, content=WEIGHTS)

    assert (elsewhere.status_code, here.status_code) == (403, 200)


def test_a_completion_must_name_every_part_with_its_tag(web, repo, sha256_of):
    digest = sha256_of(LARGE)
    wanted = {"operation": "upload", "objects": [{"oid": digest, "size": len(LARGE)}]}
    batch = web.post(f"/{repo}.git/info/lfs/objects/batch", json=wanted).json()
    action = batch["objects"][0]["actions"]["upload"]
    tags = [
        web.put(
            action["header"][str(n)], content=LARGE[start : start + 10_000]
        ).headers["ETag"]
        for n, start in ((1, 0), (2, 10_000), (3, 20_000))
    ]
    parts = [{"partNumber": n, "etag": tag} for n, tag in enumerate(tags, 1)]
    wrong = [*parts[:2], {"partNumber": 3, "etag": '"other"'}]

    statuses = [
        web.post(action["href"], json={"oid": digest, "parts": given}).status_code
        for given in (parts[:2], wrong, parts)
    ]

    assert statuses == [400, 400, 200]


def test_the_server_refuses_an_http_error_as_such(repo, push):
    with pytest.raises(HfHubHTTPError) as error:
        push(repo, {"a.txt": b"1"}, revision="nothing")

    assert error.value.request_id.startswith("rehearsal-")
