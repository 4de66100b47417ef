"""Branches, tags, history and trees, through the real client."""

import pytest
from huggingface_hub.errors import (
    BadRequestError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RevisionNotFoundError,
)

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def status_of(call):
    with pytest.raises(HfHubHTTPError) as error:
        call()
    return error.value.response.status_code


def test_a_tag_is_created_once_and_never_moves(api, repo, push):
    first = push(repo, {"a.txt": b"1"})
    api.create_tag(repo, tag="v1", tag_message="The first")
    push(repo, {"a.txt": b"2"})

    assert status_of(lambda: api.create_tag(repo, tag="v1")) == 409
    api.create_tag(repo, tag="v1", exist_ok=True)
    (tag,) = api.list_repo_refs(repo).tags
    assert (tag.name, tag.ref, tag.target_commit) == (
        "v1",
        "refs/tags/v1",
        first.oid,
    )


def test_a_tag_can_name_any_revision(api, repo, push):
    old = push(repo, {"a.txt": b"1"})
    push(repo, {"a.txt": b"2"})
    api.create_branch(repo, branch="release/one", revision=old.oid)

    api.create_tag(repo, tag="from-commit", revision=old.oid)
    api.create_tag(repo, tag="from-branch", revision="release/one")

    targets = {tag.name: tag.target_commit for tag in api.list_repo_refs(repo).tags}
    assert targets == {"from-commit": old.oid, "from-branch": old.oid}


def test_a_deleted_tag_is_unknown(api, repo):
    api.create_tag(repo, tag="v1", tag_message="x")

    api.delete_tag(repo, tag="v1")

    assert not api.list_repo_refs(repo).tags
    assert not api.revision_exists(repo, "v1")
    with pytest.raises(RevisionNotFoundError):
        api.delete_tag(repo, tag="v1")


def test_a_tag_of_an_unknown_revision_is_not_found(api, repo):
    with pytest.raises(RevisionNotFoundError):
        api.create_tag(repo, tag="v1", revision="nothing")


def test_a_branch_is_created_once(api, repo):
    api.create_branch(repo, branch="staging/x")

    assert status_of(lambda: api.create_branch(repo, branch="staging/x")) == 409
    api.create_branch(repo, branch="staging/x", exist_ok=True)
    names = [branch.name for branch in api.list_repo_refs(repo).branches]
    assert names == ["main", "staging/x"]


@pytest.mark.parametrize(
    "name", ["refs/pr/5", "a..b", "end.lock", "with space", "-/../x", "a//b"]
)
def test_an_impossible_branch_name_is_refused(web, repo, name):
    quoted = name.replace("/", "%2F").replace(" ", "%20")

    assert web.post(f"/api/models/{repo}/branch/{quoted}", json={}).status_code == 400


def test_a_deleted_branch_is_unknown_and_its_commits_stay(api, repo, push):
    api.create_branch(repo, branch="staging/x")
    commit = push(repo, {"a.txt": b"1"}, revision="staging/x")

    api.delete_branch(repo, branch="staging/x")

    assert not api.revision_exists(repo, "staging/x")
    assert api.revision_exists(repo, commit.oid)
    with pytest.raises(RevisionNotFoundError):
        api.delete_branch(repo, branch="staging/x")


def test_a_branch_name_is_free_again_after_those_below_it_are_gone(api, repo):
    api.create_branch(repo, branch="staging/x")
    api.delete_branch(repo, branch="staging/x")

    api.create_branch(repo, branch="staging")

    assert api.revision_exists(repo, "staging")


def test_main_cannot_be_deleted(api, repo):
    assert status_of(lambda: api.delete_branch(repo, branch="main")) == 403
    assert api.revision_exists(repo, "main")


def test_a_revision_is_a_branch_a_tag_a_ref_or_a_commit(api, repo, push):
    commit = push(repo, {"a.txt": b"1"}).oid
    api.create_tag(repo, tag="v1", tag_message="annotated")
    revisions = ["main", "v1", "refs/heads/main", commit, commit[:7]]

    assert {api.repo_info(repo, revision=name).sha for name in revisions} == {commit}
    assert not api.revision_exists(repo, commit[:6])
    assert not api.revision_exists(repo, "nothing")


def test_resolve_revision_gives_the_commit(api, repo, push, tmp_path):
    commit = push(repo, {"a.txt": b"1"}).oid
    api.create_tag(repo, tag="v1")

    resolved = api.resolve_revision(repo, revision="v1", cache_dir=tmp_path)

    assert resolved.resolved == commit


def test_the_history_is_listed_newest_first_across_pages(api, repo, push):
    made = [push(repo, {"a.txt": b"%d" % number}).oid for number in range(24)]

    listed = [commit.commit_id for commit in api.list_repo_commits(repo)]

    assert listed[:-1] == made[::-1]
    assert len(listed) == 25


def test_super_squash_leaves_one_commit_with_the_same_files(api, repo, push):
    push(repo, {"a.txt": b"1"})
    push(repo, {"b.txt": b"2"})
    before = {f.path: f.blob_id for f in api.list_repo_tree(repo)}

    api.super_squash_history(repo, commit_message="All of it")

    assert [commit.title for commit in api.list_repo_commits(repo)] == ["All of it"]
    assert {f.path: f.blob_id for f in api.list_repo_tree(repo)} == before


def test_a_tree_is_listed_flat_deep_and_by_folder(api, repo, push):
    push(repo, {"a.txt": b"1", "unet/c.json": b"22", "unet/deep/d.json": b"333"})

    flat = {entry.path for entry in api.list_repo_tree(repo)}
    deep = {entry.path for entry in api.list_repo_tree(repo, recursive=True)}
    below = {entry.path for entry in api.list_repo_tree(repo, "unet")}

    assert flat == {".gitattributes", "a.txt", "unet"}
    assert deep == flat | {"unet/c.json", "unet/deep", "unet/deep/d.json"}
    assert below == {"unet/c.json", "unet/deep"}


def test_a_tree_spans_pages(hub, api, repo, push):
    push(repo, {f"f{number:02}.txt": b"x" for number in range(45)})
    since = len(hub.requests)

    paths = [entry.path for entry in api.list_repo_tree(repo)]

    assert paths == [".gitattributes", *(f"f{number:02}.txt" for number in range(45))]
    assert len(hub.requests) - since == 3


def test_an_expanded_tree_names_the_commit_that_last_changed_each_path(api, repo, push):
    first = push(repo, {"a.txt": b"1", "b.txt": b"1", "unet/c.txt": b"1"}).oid
    second = push(repo, {"b.txt": b"2"}).oid
    third = push(repo, {"unet/c.txt": b"2"}).oid

    entries = api.list_repo_tree(repo, recursive=True, expand=True)

    last = {entry.path: entry.last_commit.oid for entry in entries}
    assert last["a.txt"] == first
    assert last["b.txt"] == second
    assert last["unet"] == last["unet/c.txt"] == third


def test_the_tree_of_a_missing_folder_is_not_found(api, repo):
    with pytest.raises(RemoteEntryNotFoundError):
        list(api.list_repo_tree(repo, "nothing"))


def test_paths_info_leaves_out_what_is_not_there(api, repo, push):
    push(repo, {"a.txt": b"1", "unet/c.json": b"{}"})

    found = api.get_paths_info(repo, ["unet", "nothing", "a.txt", "unet/c.json"])

    assert [entry.path for entry in found] == ["unet", "a.txt", "unet/c.json"]


def test_paths_info_takes_at_most_a_thousand_paths(web, repo):
    paths = {"paths": [f"f{number}" for number in range(1_001)]}

    answer = web.post(f"/api/models/{repo}/paths-info/main", data=paths)

    assert answer.status_code == 413


def test_the_error_of_a_bad_branch_name_reaches_the_client(api, repo):
    with pytest.raises(BadRequestError, match="Invalid reference name"):
        api.create_branch(repo, branch="refs/pr/5")
