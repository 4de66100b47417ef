"""All repositories of one rehearsal Hub: a folder of bare git repositories.

Layout:

    <folder>/<namespace>/<name>.git/    objects, refs: plain git
                                 hub.json   visibility and gating
                                 lfs/       large files
"""

import json
import secrets
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Literal

from dulwich.repo import Repo

from release.hub.rehearsal.large_files import LargeFiles
from release.hub.rehearsal.large_rules import attributes_text
from release.hub.rehearsal.references import MAIN
from release.hub.rehearsal.repository import LARGE_FILES, Repository, Signature

Gating = Literal["auto", "manual", False]

_SETTINGS: Final = "hub.json"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the Hub knows of a repository besides its git content."""

    private: bool = False
    gated: Gating = False
    created: float = 0.0
    """Unix seconds."""


class Repositories:
    """The repositories below one folder, by `namespace/name` (already checked)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def directory(self, repo_id: str) -> Path:
        """Return the bare git repository's folder, whether it exists or not."""
        return self._folder / f"{repo_id}.git"

    def large_file(self, repo_id: str, sha256: str) -> Path:
        """Return where a repository stores a large file, whether it exists or not."""
        return LargeFiles(self.directory(repo_id) / LARGE_FILES).path(sha256)

    def exists(self, repo_id: str) -> bool:
        """Return whether there is such a repository."""
        return (self.directory(repo_id) / _SETTINGS).is_file()

    def open(self, repo_id: str) -> Repository:
        """Open a repository that exists."""
        return Repository(self.directory(repo_id))

    def create(self, repo_id: str, settings: Settings, *, by: Signature) -> None:
        """Create a repository whose main branch holds `.gitattributes`.

        It is built under another name and appears complete.
        """
        temporary = self._folder / f".new-{secrets.token_hex(8)}"
        temporary.mkdir(parents=True)
        try:
            Repo.init_bare(str(temporary), default_branch=MAIN.encode()).close()
            with Repository(temporary) as repository:
                repository.begin({".gitattributes": attributes_text()}, by)
            _write_settings(temporary, settings)
            self.directory(repo_id).parent.mkdir(parents=True, exist_ok=True)
            temporary.rename(self.directory(repo_id))
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def delete(self, repo_id: str) -> None:
        """Delete a repository with its large files."""
        shutil.rmtree(self.directory(repo_id))

    def settings(self, repo_id: str) -> Settings:
        """Return visibility, gating and creation time."""
        text = (self.directory(repo_id) / _SETTINGS).read_text("utf-8")
        return Settings(**json.loads(text))

    def change(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        gated: Gating | None = None,
    ) -> None:
        """Change visibility or gating; None leaves it."""
        settings = self.settings(repo_id)
        if private is not None:
            settings = replace(settings, private=private)
        if gated is not None:
            settings = replace(settings, gated=gated)
        _write_settings(self.directory(repo_id), settings)


def _write_settings(directory: Path, settings: Settings) -> None:
    temporary = directory / f"{_SETTINGS}.new"
    temporary.write_text(json.dumps(asdict(settings)) + "\n", "utf-8")
    temporary.replace(directory / _SETTINGS)
