"""A Hub on loopback and a small release to send there."""

import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from hashlib import sha256  # noqa: TID251  # an oracle that is not our code
from pathlib import Path
from typing import Protocol

import pytest

from release.hub.client import HubConnection, connect
from release.hub.rehearsal import RehearsalHub
from release.hub.remote import ReleaseFile
from release.hub.staged_release import PublishResult, publish_release

REPO = "maker/gamma"
CARD = "---\nlicense: openrail++\n---\n# gamma rev2\n"


class Publish(Protocol):
    def __call__(
        self,
        files: tuple[ReleaseFile, ...],
        *,
        tag: str = "rev2",
        on_step: Callable[[str], None] = ...,
        on_bytes: Callable[[int, int], None] = ...,
    ) -> PublishResult: ...


@pytest.fixture(scope="module")
def running_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RehearsalHub]:
    with RehearsalHub(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture
def hub(running_hub: RehearsalHub) -> Iterator[RehearsalHub]:
    """A Hub that holds nothing, remembers nothing and has no faults planted."""
    running_hub._log.clear()
    yield running_hub
    running_hub.faults.clear()
    shutil.rmtree(running_hub.git_directory(REPO), ignore_errors=True)


@pytest.fixture
def pauses() -> list[float]:
    """The seconds that a connection would have slept."""
    return []


@pytest.fixture
def connection(hub: RehearsalHub, pauses: list[float]) -> Iterator[HubConnection]:
    with connect(hub.endpoint, hub.token, lfs_only=True, pause=pauses.append) as opened:
        yield opened


@pytest.fixture
def git(hub: RehearsalHub) -> Callable[..., str]:
    """Ask git itself, independently of the Hub's own code; no repository, no answer."""

    def ask(*arguments: str) -> str:
        directory = hub.git_directory(REPO)
        if not directory.exists():
            return ""
        command = ["git", "--git-dir", str(directory), *arguments]
        return subprocess.run(
            command, check=True, capture_output=True, text=True
        ).stdout

    return ask


@pytest.fixture
def make_files(tmp_path: Path) -> Callable[[int], tuple[ReleaseFile, ...]]:
    """Write two checkpoints and what accompanies them; another seed, other bytes."""

    def write(seed: int) -> tuple[ReleaseFile, ...]:
        noise = random.Random(seed)  # noqa: S311
        contents = {
            "gamma-rev2.fp16.safetensors": noise.randbytes(70_001),
            "gamma-rev2.fp8_e4m3fn.safetensors": noise.randbytes(40_003),
            "README.md": CARD.encode(),
            "SHA256SUMS": b"%d\n" % seed,
            "manifest.json": b'{"seed": %d}\n' % seed,
        }
        folder = tmp_path / f"release-{seed}"
        folder.mkdir()
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        return tuple(
            ReleaseFile(folder / name, name, len(content), sha256(content).hexdigest())
            for name, content in contents.items()
        )

    return write


@pytest.fixture
def files(
    make_files: Callable[[int], tuple[ReleaseFile, ...]],
) -> tuple[ReleaseFile, ...]:
    return make_files(1)


@pytest.fixture
def publish(connection: HubConnection) -> Publish:
    """Publish files as release gamma-rev2 of the test repository."""

    def run(
        files: tuple[ReleaseFile, ...],
        *,
        tag: str = "rev2",
        on_step: Callable[[str], None] = lambda _: None,
        on_bytes: Callable[[int, int], None] = lambda *_: None,
    ) -> PublishResult:
        return publish_release(
            connection,
            REPO,
            tag,
            files,
            release_name="gamma-rev2",
            summary="gamma rev2 = beta7 + 1.0 (anxl3 - anxl2)",
            on_step=on_step,
            on_bytes=on_bytes,
        )

    return run


@pytest.fixture
def writes(hub: RehearsalHub) -> Callable[..., list[str]]:
    """List the requests that could change something, as "METHOD path"."""

    def listed(*, since: int = 0) -> list[str]:
        return [
            f"{seen.method} {seen.path}"
            for seen in hub.requests[since:]
            if seen.method not in {"GET", "HEAD"} and "/paths-info/" not in seen.path
        ]

    return listed


@pytest.fixture
def assert_published(
    git: Callable[..., str],
) -> Callable[[tuple[ReleaseFile, ...]], None]:
    """Look with git alone: one commit on main, tagged, with every file in it."""

    def look(files: tuple[ReleaseFile, ...]) -> None:
        assert git("log", "--format=%s", "main") == "Release gamma-rev2\n"
        assert git("rev-parse", "main") == git("rev-parse", "rev2^{commit}")
        names = set(git("ls-tree", "-r", "--name-only", "rev2").splitlines())
        assert names == {file.name for file in files} | {".gitattributes"}
        pointer = git("show", f"rev2:{files[0].name}")
        assert f"oid sha256:{files[0].sha256}" in pointer
        assert git("branch", "--format=%(refname:short)") == "main\n"

    return look
