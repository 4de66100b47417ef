"""Files on disk against what a Hub holds at one commit."""

import json
import shutil
from collections.abc import Callable
from hashlib import sha256  # noqa: TID251  # an oracle that is not our code
from pathlib import Path

import pytest
from huggingface_hub import constants

from release.errors import HubError, IntegrityError
from release.hub.claims import hub_claims
from release.hub.client import HubConnection
from release.hub.rehearsal import RehearsalHub
from release.hub.remote import ReleaseFile
from release.hub.staged_release import PublishResult
from release.progress import NoProgress
from release.verify.report import VerifyReport
from release.verify.verify import verify

Publish = Callable[..., PublishResult]

REPO = "maker/gamma"
FP16, FP8 = (f"kohaku-xl-gamma-rev2-{kind}.safetensors" for kind in ("fp16", "fp8"))


@pytest.fixture
def folder(release_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(release_folder, tmp_path / "release"))


@pytest.fixture
def published(folder: Path, publish: Publish) -> PublishResult:
    files = tuple(
        ReleaseFile(
            path,
            path.name,
            path.stat().st_size,
            sha256(path.read_bytes()).hexdigest(),
        )
        for path in sorted(folder.iterdir())
    )
    return publish(files)


def check(
    connection: HubConnection, path: Path, revision: str = "main", level: str = "xxh3"
) -> VerifyReport:
    claims = hub_claims(connection, REPO, revision)
    return verify(path, level=level, threads=2, progress=NoProgress(), against=claims)


def put(connection: HubConnection, content: bytes, *, name: str) -> None:
    connection.once(
        "put",
        lambda: connection.api.upload_file(
            path_or_fileobj=content, path_in_repo=name, repo_id=REPO
        ),
    )


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.usefixtures("published")
def test_manifest_of_the_repository_adds_tensors_and_chunks(
    connection: HubConnection, folder: Path, git: Callable[..., str]
) -> None:
    claims = {claim.name: claim for claim in hub_claims(connection, REPO, "rev2")}

    head = git("rev-parse", "rev2^{commit}").strip()
    assert claims.keys() == {path.name for path in folder.iterdir()} | {
        ".gitattributes"
    }
    assert {claim.source.label for claim in claims.values()} == {
        f"{REPO} at commit {head[:12]}"
    }
    assert claims[FP8].sha256 == sha256((folder / FP8).read_bytes()).hexdigest()
    assert len(claims[FP8].tensors) == 2515
    assert claims["README.md"].git_blob_id == git("rev-parse", "main:README.md").strip()


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("level", ["xxh3", "sha256"])
def test_downloaded_release_is_intact_by_sha256(
    connection: HubConnection, folder: Path, level: str
) -> None:
    report = check(connection, folder, level=level)

    assert report.is_intact
    assert report.absent == (".gitattributes",)
    compared = {file.name: file.reached.compared for file in report.files}
    assert compared[FP16] == compared[FP8] == "sha256"
    assert compared["README.md"] == "git"


@pytest.mark.usefixtures("published")
def test_damage_is_placed_by_the_manifest_of_the_repository(
    connection: HubConnection, folder: Path
) -> None:
    flip(folder / FP8, -1)
    flip(folder / "README.md", 3)

    report = check(connection, folder)

    bad = {file.name: file for file in report.bad}
    assert bad.keys() == {FP8, "README.md"}
    assert len(bad[FP8].tensors) == 1
    assert bad[FP8].damage is not None
    assert bad[FP8].damage.by_chunk
    assert bad["README.md"].verdict == "not what it claims"


def test_commit_is_believed_and_not_what_main_has_become(
    connection: HubConnection, folder: Path, published: PublishResult
) -> None:
    put(connection, b"other" * 99, name=FP8)

    assert check(connection, folder / FP8, published.commit).is_intact
    assert check(connection, folder / FP8, "rev2").is_intact
    (found,) = check(connection, folder / FP8, "main").files
    assert found.verdict == "not what it claims"
    assert "bytes; expected 495" in found.detail


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("text", [b"{}", b"\xff", b'{"schema": "krelease.manifest/9"}'])
def test_manifest_that_is_none_of_ours_leaves_the_hubs_own_word(
    connection: HubConnection, folder: Path, text: bytes
) -> None:
    put(connection, text, name="manifest.json")

    claims = {claim.name: claim for claim in hub_claims(connection, REPO, "main")}

    assert claims[FP8].tensors == ()
    assert claims[FP8].sha256 is not None
    assert check(connection, folder / FP8).is_intact


@pytest.mark.usefixtures("published")
def test_manifest_that_contradicts_the_hub_is_not_believed(
    connection: HubConnection, folder: Path
) -> None:
    document = json.loads((folder / "manifest.json").read_text())
    document["checkpoints"][1]["sha256"] = "0" * 64
    put(connection, json.dumps(document).encode(), name="manifest.json")

    claims = {claim.name: claim for claim in hub_claims(connection, REPO, "main")}

    assert claims[FP8].tensors == ()
    assert claims[FP8].sha256 == sha256((folder / FP8).read_bytes()).hexdigest()
    assert len(claims[FP16].tensors) == 2515


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("name", ["nul", "a..", "c ./x"])
def test_name_that_leaves_a_folder_is_refused(
    connection: HubConnection, name: str
) -> None:
    put(connection, b"x", name=name)

    with pytest.raises(IntegrityError) as caught:
        hub_claims(connection, REPO, "main")

    assert caught.value.code == "path"


@pytest.mark.usefixtures("published")
def test_revision_that_is_not_there_is_told(connection: HubConnection) -> None:
    with pytest.raises(HubError) as caught:
        hub_claims(connection, REPO, "rev3")

    assert caught.value.code == "hub-revision-not-found"


@pytest.mark.usefixtures("published")
def test_command_asks_the_hub(
    hub: RehearsalHub,
    folder: Path,
    krelease: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
    )
    monkeypatch.setenv("HF_TOKEN", hub.token)

    code, out, err = krelease("verify", folder / FP8, "--against", f"{REPO}@rev2")

    assert code == 0
    assert f"compared with {REPO} at commit " in out
    assert "by SHA-256, which finds any change; it is worth as much as the Hub" in out
    assert f"look up on the Hub: {REPO} at rev2" in err
