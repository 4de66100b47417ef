"""A running Hub, the unmodified client in LFS mode, and a repository per test."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import httpx2
import pytest
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi, constants

from release.hub.rehearsal import Limits, RehearsalHub

LIMITS = Limits(part_bytes=10_000, page_entries=20, expanded_entries=3)
"""Small, so that parts and pages appear with little data."""

Digest = Callable[[bytes], str]
Push = Callable[..., CommitInfo]

_NUMBERS = count(1)


@pytest.fixture(scope="session")
def running_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RehearsalHub]:
    with RehearsalHub(tmp_path_factory.mktemp("hub"), limits=LIMITS) as hub:
        with pytest.MonkeyPatch.context() as patch:
            # The client's first request of a process brings another one along.
            patch.setattr(constants, "ENDPOINT", hub.endpoint)
            HfApi(endpoint=hub.endpoint, token=hub.token).whoami()
        yield hub


@pytest.fixture(autouse=True)
def quiet_client(
    running_hub: RehearsalHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Put the client into LFS mode and keep it from the user's cache."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def hub(running_hub: RehearsalHub) -> Iterator[RehearsalHub]:
    """The Hub of all tests; a test must meet every fault it plants."""
    yield running_hub
    pending = running_hub.faults.pending
    running_hub.faults.clear()
    assert pending == 0


@pytest.fixture
def api(hub: RehearsalHub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=hub.token)


@pytest.fixture
def web(hub: RehearsalHub) -> Iterator[httpx2.Client]:
    """A plain HTTP client with the write token, for what the Hub client never sends."""
    headers = {"Authorization": f"Bearer {hub.token}"}
    with httpx2.Client(base_url=hub.endpoint, headers=headers, trust_env=False) as web:
        yield web


@pytest.fixture
def repo(api: HfApi) -> str:
    repo_id = f"maker/model-{next(_NUMBERS)}"
    api.create_repo(repo_id)
    return repo_id


@pytest.fixture(scope="session")
def sha256_of() -> Digest:
    """SHA-256 in hex, without the code under test."""

    def digest(content: bytes) -> str:
        state = Hash(SHA256())
        state.update(content)
        return state.finalize().hex()

    return digest


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let the client's retries not wait; the seconds it would have waited."""
    seconds: list[float] = []
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", seconds.append)
    return seconds


@pytest.fixture
def push(api: HfApi) -> Push:
    """Commit files to main, or to `revision`."""

    def commit(repo_id: str, files: dict[str, bytes], **options: str) -> CommitInfo:
        added = [CommitOperationAdd(path, content) for path, content in files.items()]
        return api.create_commit(repo_id, added, commit_message="Add", **options)

    return commit
