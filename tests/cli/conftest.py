"""The real program in a process of its own, definitions, and a Hub to publish to."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from pathlib import Path

import pytest

from release.hub.rehearsal import RehearsalHub

PROGRAM = Path(sys.executable).with_name("krelease")

Spawn = Callable[..., subprocess.CompletedProcess[str]]
Define = Callable[..., Path]
Listing = Callable[[Path], dict[str, tuple[int, int]]]


@pytest.fixture(scope="session")
def program() -> Path:
    """The installed program."""
    return PROGRAM


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has configured nothing, 80 columns wide."""
    ours = ("HF_", "HUGGING", "KRELEASE", "NO_COLOR", "FORCE_COLOR", "TERM")
    known = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    return known | {
        "COLUMNS": "80",
        "HF_HOME": str(tmp_path / "hf-home"),
        "HF_HUB_DISABLE_XET": "1",
    }


@pytest.fixture
def spawn(environment: dict[str, str], tmp_path: Path) -> Spawn:
    """Run the installed program in `tmp_path` and wait for it."""

    def run(
        *args: object, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, *map(str, args)],
            check=False,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment | dict(env or {}),
            timeout=60,
        )

    return run


@pytest.fixture
def define(tmp_path: Path) -> Define:
    """Write gamma-rev2 as somebody's own definition, with changes, as NAME.toml."""

    def write(
        name: str = "own",
        *,
        paths: Mapping[str, object] | None = None,
        sha256: Mapping[str, str] | None = None,
        hub: Mapping[str, str] | None = None,
        replace: Mapping[str, str] | None = None,
        folder: Path = tmp_path,
    ) -> Path:
        catalog = resources.files("release.catalog") / "gamma-rev2.toml"
        text = catalog.read_text(encoding="utf-8")
        text = text.replace('name = "gamma-rev2"', f'name = "{name}"')
        text = re.sub(r'(?m)^hub = "[^"]*"\n(file = "[^"]*"\n)?', "", text)
        for key, values in (("path", paths), ("sha256", sha256), ("hub", hub)):
            for ingredient, value in (values or {}).items():
                table = f"[ingredients.{ingredient}]\n"
                text = text.replace(table, f'{table}{key} = "{value}"\n')
        for old, new in (replace or {}).items():
            assert old in text
            text = text.replace(old, new)
        path = folder / f"{name}.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="module")
def running_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RehearsalHub]:
    with RehearsalHub(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture(scope="session")
def listing() -> Listing:
    """List everything below a folder, hidden names too: size and time of change."""

    def look(folder: Path) -> dict[str, tuple[int, int]]:
        return {
            str(path.relative_to(folder)): (
                path.stat().st_size,
                path.stat().st_mtime_ns,
            )
            for path in sorted(folder.rglob("*"))
        }

    return look
