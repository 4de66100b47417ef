"""Downloads, through the real client."""

from pathlib import Path

import pytest
from huggingface_hub import HfFileSystem, hf_hub_url, snapshot_download
from huggingface_hub.errors import RemoteEntryNotFoundError
from numpy.random import default_rng

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

WEIGHTS = default_rng(3).bytes(5_000)
FILES = {
    "model.safetensors": WEIGHTS,
    "config.json": b'{"a": 1}',
    "unet/config.json": b"{}",
}


@pytest.fixture
def release(repo, push):
    """A repository with `FILES`, and the commit that brought them."""
    return repo, push(repo, FILES).oid


@pytest.mark.parametrize("path", FILES)
def test_a_file_arrives_as_it_was_sent(api, release, tmp_path, path):
    local = api.hf_hub_download(release[0], path, cache_dir=tmp_path)

    assert Path(local).read_bytes() == FILES[path]


def test_a_snapshot_holds_every_file(api, release, tmp_path):
    folder = Path(api.snapshot_download(release[0], cache_dir=tmp_path))

    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    del found[".gitattributes"]
    assert found == FILES
    assert folder.name == release[1]


def test_a_tag_branch_and_commit_serve_their_own_content(api, release, push, tmp_path):
    repo, commit = release
    api.create_tag(repo, tag="v1", tag_message="annotated")
    api.create_branch(repo, branch="staging/x")
    push(repo, {"config.json": b"new"}, revision="staging/x")

    def config(revision):
        options = {"revision": revision, "cache_dir": tmp_path}
        return Path(api.hf_hub_download(repo, "config.json", **options)).read_bytes()

    assert config("v1") == config(commit) == config("main") == FILES["config.json"]
    assert config("staging/x") == b"new"


def test_metadata_gives_commit_size_and_digest(hub, api, release):
    repo, commit = release
    api.create_tag(repo, tag="v1", tag_message="annotated")
    (file,) = api.get_paths_info(repo, "model.safetensors")

    large = api.get_hf_file_metadata(
        url=hf_hub_url(repo, "model.safetensors", revision="v1", endpoint=hub.endpoint)
    )
    regular = api.get_hf_file_metadata(
        url=hf_hub_url(repo, "unet/config.json", endpoint=hub.endpoint)
    )

    assert (large.commit_hash, large.size) == (commit, len(WEIGHTS))
    assert large.etag == file.lfs.sha256
    assert (regular.commit_hash, regular.size) == (commit, 2)


def test_file_exists_tells_files_from_nothing(api, release):
    assert api.file_exists(release[0], "unet/config.json")
    assert not api.file_exists(release[0], "unet/nothing.json")
    assert not api.file_exists(release[0], "unet")
    assert not api.file_exists("maker/nothing", "config.json")


def test_a_missing_file_is_named_with_the_commit_it_is_missing_from(
    web, api, release, tmp_path
):
    repo, commit = release

    answer = web.head(f"/{repo}/resolve/main/nothing")

    assert answer.status_code == 404
    assert answer.headers["X-Repo-Commit"] == commit
    with pytest.raises(RemoteEntryNotFoundError):
        api.hf_hub_download(repo, "nothing", cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=4990-", 4990, 5000),
        ("bytes=4990-9999", 4990, 5000),
        ("bytes=-7", 4993, 5000),
        ("bytes=-9999", 0, 5000),
    ],
)
def test_a_range_gives_those_bytes(web, release, wanted, start, end):
    url = f"/{release[0]}/resolve/main/model.safetensors"

    answer = web.get(url, headers={"Range": wanted})

    assert answer.status_code == 206
    assert answer.content == WEIGHTS[start:end]
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/5000"


@pytest.mark.parametrize("wanted", ["bytes=5000-", "bytes=9000-9001", "bytes=-0"])
def test_a_range_behind_the_end_is_refused_with_the_size(web, release, wanted):
    url = f"/{release[0]}/resolve/main/model.safetensors"

    answer = web.get(url, headers={"Range": wanted})

    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == "bytes */5000"


@pytest.mark.parametrize(
    "wanted", ["bytes=9-3", "bytes=0-1,5-6", "lines=1-2", "bytes=-"]
)
def test_a_range_that_is_none_gives_the_whole_file(web, release, wanted):
    url = f"/{release[0]}/resolve/main/model.safetensors"

    answer = web.get(url, headers={"Range": wanted})

    assert (answer.status_code, answer.content) == (200, WEIGHTS)


def test_a_head_has_the_size_and_no_body(web, release):
    url = f"/{release[0]}/resolve/main/model.safetensors"

    answer = web.head(url)

    assert answer.headers["Content-Length"] == "5000"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["ETag"] == answer.headers["X-Linked-ETag"]
    assert answer.content == b""


def test_the_file_system_lists_and_reads_ranges(hub, release):
    files = HfFileSystem(
        endpoint=hub.endpoint, token=hub.token, skip_instance_cache=True
    )
    path = f"{release[0]}/model.safetensors"

    listed = {entry["name"] for entry in files.ls(release[0])}

    assert path in listed
    assert files.cat_file(path, start=100, end=300) == WEIGHTS[100:300]
    with files.open(path, "rb") as file:
        file.seek(4_000)
        assert file.read(10) == WEIGHTS[4_000:4_010]


def test_checksums_are_verified_against_the_tree(api, release, tmp_path):
    repo = release[0]
    api.snapshot_download(repo, local_dir=tmp_path / "copy", cache_dir=tmp_path)
    good = api.verify_repo_checksums(repo, local_dir=tmp_path / "copy")
    (tmp_path / "copy/model.safetensors").write_bytes(b"x" * 5_000)

    bad = api.verify_repo_checksums(repo, local_dir=tmp_path / "copy")

    assert (good.mismatches, good.missing_paths) == ([], [])
    assert [mismatch["path"] for mismatch in bad.mismatches] == ["model.safetensors"]


def test_anybody_downloads_a_public_repository(hub, release, tmp_path):
    folder = snapshot_download(
        release[0], endpoint=hub.endpoint, token=False, cache_dir=tmp_path
    )

    assert (Path(folder) / "model.safetensors").read_bytes() == WEIGHTS
