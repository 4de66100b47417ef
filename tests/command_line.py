"""Command lines in a folder of their own: what they wrote, and how they refused."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., tuple[int, str, str]]


@dataclass(frozen=True)
class Refusal:
    """How a command line was refused."""

    exit_code: int
    code: str
    message: str
    hint: str
    said: str


@dataclass(frozen=True)
class Written:
    """What a command line wrote, as its JSON document says, and what it said."""

    document: dict[str, Any]
    said: str

    @property
    def paths(self) -> dict[str, list[Path]]:
        """Variant -> its files of weights."""
        return {
            each["variant"]: [Path(file["path"]) for file in each["files"]]
            for each in self.document["variants"]
        }

    def path(self, variant: str = "fp16") -> Path:
        """Return the only file of a variant."""
        (path,) = self.paths[variant]
        return path

    def variant(self, name: str) -> dict[str, Any]:
        """Return what the document says of a variant."""
        (found,) = (v for v in self.document["variants"] if v["variant"] == name)
        return found


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, empty but for what a test puts there."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("KRELEASE_THREADS", raising=False)
    return folder


def written(krelease: Run, *args: object) -> Written:
    """Run a command line that must succeed."""
    code, out, err = krelease(*args, "--json")
    assert code == 0, err
    return Written(json.loads(out), err)


def refusal(krelease: Run, folder: Path, *args: object) -> Refusal:
    """Run a command line that must fail, say why, and change nothing in a folder."""
    before = contents(folder)
    code, out, err = krelease(*args, "--json")
    assert contents(folder) == before
    document = json.loads(out)
    assert document["schema"] == "krelease.error/1"
    assert document["exit_code"] == code
    assert document["hint"]
    assert "Traceback" not in err
    *_, error, hint = (line for line in err.splitlines() if not line.startswith("  "))
    assert error == f"error: {document['message']}"
    assert hint == f"hint: {document['hint']}"
    return Refusal(code, document["code"], document["message"], document["hint"], err)


def contents(folder: Path) -> dict[str, bytes]:
    """Return everything below a folder: path -> bytes; folders are empty."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }
