"""From a Hub on loopback, by the unmodified client: pinned, ranged, and by SHA-256."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from release.hub.rehearsal import RehearsalHub

MIB = 2**20
NAME = "model-fp16.safetensors"
REPO = "maker/gamma"
FLIPS = (MIB + 5, 3 * MIB, 7 * MIB + 1)

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def flip(*positions):
    def change(content):
        for position in positions:
            content[position] ^= 1
        return content

    return change


@pytest.fixture(scope="module")
def running_hub(
    tmp_path_factory: pytest.TempPathFactory, lone: Path
) -> Iterator[tuple[RehearsalHub, str]]:
    """A Hub with the file in a repository of its own, and the commit."""
    with (
        RehearsalHub(tmp_path_factory.mktemp("hub")) as hub,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        api.create_repo(REPO)
        done = api.upload_file(path_or_fileobj=lone, path_in_repo=NAME, repo_id=REPO)
        api.create_tag(REPO, tag="v1", revision=done.oid)
        api.upload_file(
            path_or_fileobj=b"other bytes" * 99, path_in_repo=NAME, repo_id=REPO
        )
        api.upload_file(
            path_or_fileobj=lone, path_in_repo="old/renamed.safetensors", repo_id=REPO
        )
        twin = flip(MIB)(bytearray(lone.read_bytes()))
        for content, name in (
            (bytes(twin), "twin.safetensors"),
            (b"first", "a/extra.safetensors"),
            (b"second", "b/extra.safetensors"),
        ):
            api.upload_file(path_or_fileobj=content, path_in_repo=name, repo_id=REPO)
        yield hub, done.oid


@pytest.fixture
def hub(
    running_hub: tuple[RehearsalHub, str],
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[RehearsalHub]:
    """The Hub as the configured one, with an empty log and no faults."""
    del here
    hub, _ = running_hub
    hub._log.clear()
    template = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    constants = "huggingface_hub.constants"
    monkeypatch.setattr(f"{constants}.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(f"{constants}.ENDPOINT", hub.endpoint)
    monkeypatch.setattr(f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    yield hub
    hub.faults.clear()


@pytest.fixture
def resolve(running_hub: tuple[RehearsalHub, str]) -> str:
    """The route of the file, pinned to its commit."""
    return f"GET /{REPO}/resolve/{running_hub[1]}/{NAME}"


@pytest.fixture
def received(hub: RehearsalHub) -> Callable[[], int]:
    """Count the bytes of the file that the Hub sent."""
    return lambda: sum(
        seen.response_bytes
        for seen in hub.requests
        if seen.method == "GET" and "/resolve/" in seen.path
    )


@pytest.mark.parametrize("revision", ["v1", "commit", "short commit"])
def test_damaged_chunks_come_from_the_pinned_commit(
    damage, repaired, hub, running_hub, received, revision
):
    damage(flip(*FLIPS))
    commit = running_hub[1]
    name = {"v1": "v1", "commit": commit, "short commit": commit[:12]}[revision]

    report = repaired("--from", f"{REPO}@{name}")

    assert report["fetched_nbytes"] == 3 * MIB == received()
    assert report["source"] == f"{REPO}@{commit[:12]}/{NAME}"
    ranged = [seen for seen in hub.requests if seen.path.startswith(f"/{REPO}/resolve")]
    assert {seen.path for seen in ranged} == {f"/{REPO}/resolve/{commit}/{NAME}"}


def test_file_with_only_its_header_is_repaired_by_the_hubs_sha256(
    damage, repaired, hub, whole_sum
):
    damage(flip(3 * MIB), record=False)

    report = repaired("--from", f"{REPO}@v1")

    assert (report["checked"], report["digest"]) == ("SHA-256", whole_sum)


def test_damaged_metadata_is_found_by_the_hubs_sha256(
    damage, repaired, hub, lone, facts
):
    at = lone.read_bytes().index(b"something small")
    damage(flip(at), record=False)

    report = repaired("--from", f"{REPO}@v1")

    assert report["fetched_nbytes"] == facts["header_nbytes"]


def test_intact_file_costs_no_byte_of_it(damage, repaired, hub, received):
    damage(record=False)

    report = repaired("--from", f"{REPO}@v1")

    assert (report["outcome"], report["checked"]) == ("intact", "SHA-256")
    assert received() == 0


def test_renamed_file_is_named_with_its_folder(damage, repaired, hub):
    damage(flip(*FLIPS))

    report = repaired("--from", f"hf://{REPO}/old/renamed.safetensors")

    assert report["fetched_nbytes"] == 3 * MIB


def test_renamed_file_is_found_by_its_sha256(damage, repaired, hub):
    damage(flip(*FLIPS))

    report = repaired("--from", REPO)

    assert report["source"].endswith("/old/renamed.safetensors")


def test_another_version_of_the_file_is_another_file(damage, refused, hub):
    damage(flip(*FLIPS))

    code, word, message = refused("--from", f"hf://{REPO}@main/{NAME}")

    assert (code, word) == (5, "different-file")
    assert "1,089 bytes, expected 12," in message


def test_file_of_the_same_size_is_told_apart_by_its_sha256(
    damage, refused, hub, received
):
    damage(flip(*FLIPS))

    code, word, message = refused("--from", f"hf://{REPO}/twin.safetensors")

    assert (code, word) == (5, "different-file")
    assert "is a different file: SHA-256 " in message
    assert received() == 0


def test_name_that_occurs_twice_is_not_guessed(krelease, hub, here):
    (here / "extra.safetensors").write_text("first")

    code, _, err = krelease("repair", "extra.safetensors", "--from", REPO)

    assert code == 8
    assert f"{REPO}: has 2 extra.safetensors" in err
    assert f"--from hf://{REPO}@main/a/extra.safetensors" in err


def test_repository_without_digests_of_parts_offers_the_full_download(
    krelease, refused, hub, here, sha256sum
):
    (here / NAME).write_bytes(b"x" * 1089)

    code, word, message = refused("--from", f"{REPO}@main")
    assert (code, word) == (5, "no-piece-digests")
    assert "cannot be found by comparing ranges" in message

    code, _, err = krelease("repair", NAME, "--from", f"{REPO}@main", "--full")

    assert code == 0, err
    assert (here / NAME).read_bytes() == b"other bytes" * 99


def test_edited_header_is_replaced_by_a_full_download(
    damage, refused, repaired, hub, lone
):
    content = lone.read_bytes()
    n = int.from_bytes(content[:8], "little")
    damage(
        lambda _: (
            (n + 8).to_bytes(8, "little")
            + content[8 : 8 + n]
            + b" " * 8
            + content[8 + n :]
        ),
        record=False,
    )

    assert refused("--from", f"{REPO}@v1")[:2] == (5, "header-edited")
    report = repaired("--from", f"{REPO}@v1", "--full")

    assert report["fetched_nbytes"] == len(content) + 8 + n


def test_manifest_of_the_repository_tells_the_chunks(
    tmp_path, krelease, damage, repaired, hub, release_folder, sha256sum, here
):
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo("maker/whole", exist_ok=True)
    api.upload_folder(repo_id="maker/whole", folder_path=release_folder)
    whole = next(release_folder.glob("*-fp16.safetensors"))
    path = here / whole.name
    path.write_bytes(flip(5 * MIB)(bytearray(whole.read_bytes())))

    code, out, err = krelease("repair", path.name, "--from", "maker/whole")

    assert code == 0, err
    assert "fetched 1,048,576 bytes (1.05 MB) of" in out
    assert sha256sum(path) == sha256sum(whole)


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("maker/nothing", "hub-not-found"),
        (f"{REPO}@nothing", "hub-revision-not-found"),
        (f"hf://{REPO}/nothing.safetensors", "hub-file-not-found"),
    ],
)
def test_what_the_hub_does_not_have_is_said(damage, refused, hub, source, word):
    damage(flip(*FLIPS))

    assert refused("--from", source)[:2] == (8, word)


class TestFaults:
    def test_moment_of_weakness_is_passed_over(self, damage, repaired, hub, resolve):
        damage(flip(*FLIPS))
        hub.faults.answer_status(resolve, 503)
        hub.faults.drop_response(resolve, skip=1)
        hub.faults.cut_response(resolve, after_bytes=70_000, skip=2)

        assert repaired("--from", f"{REPO}@v1")["fetched_nbytes"] == 3 * MIB

    @pytest.mark.parametrize("status", [500, 502, 503])
    def test_hub_that_is_down_changes_nothing(
        self, damage, refused, hub, resolve, status
    ):
        damage(flip(*FLIPS))
        hub.faults.answer_status(resolve, status, times=99)

        assert refused("--from", f"{REPO}@v1")[:2] == (8, "hub-unavailable")

    def test_what_was_fetched_before_it_went_down_is_kept(
        self, damage, refused, repaired, hub, resolve
    ):
        damage(flip(*FLIPS))
        hub.faults.answer_status(resolve, 503, times=9, skip=2)

        assert refused("--from", f"{REPO}@v1", leaves=True)[1] == "hub-unavailable"
        hub.faults.clear()
        assert repaired("--from", f"{REPO}@v1")["fetched_nbytes"] == MIB

    def test_damaged_storage_is_found_out(
        self, damage, refused, repaired, hub, whole_sum
    ):
        damage(flip(*FLIPS))
        hub.faults.flip_lfs_byte(REPO, whole_sum, offset=3 * MIB)

        code, word, _ = refused("--from", f"{REPO}@v1", leaves=True)
        hub.faults.flip_lfs_byte(REPO, whole_sum, offset=3 * MIB)

        assert (code, word) == (5, "source-bytes")
        assert repaired("--from", f"{REPO}@v1")["fetched_nbytes"] == 2 * MIB

    def test_address_that_answers_for_no_commit_is_refused(
        self, damage, refused, hub, resolve
    ):
        damage(flip(*FLIPS))
        hub.faults.omit_header(resolve.replace("GET", "HEAD"), "X-Repo-Commit")

        assert refused("--from", f"{REPO}@v1")[:2] == (8, "hub-answer")


def test_token_is_never_shown(damage, krelease, hub, resolve):
    damage(flip(*FLIPS))
    hub.faults.answer_status(resolve, 500, times=9)

    code, out, err = krelease("repair", NAME, "--from", f"{REPO}@v1")

    assert code == 8
    assert hub.token not in out + err
