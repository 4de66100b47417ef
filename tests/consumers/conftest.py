"""The command under test, and what it makes of a narrow SDXL checkpoint."""

import io
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from importlib.metadata import files
from pathlib import Path

import pytest

from release.cli import app

Convert = Callable[..., dict[str, Path]]

PRESETS = ("fp32", "fp16", "bf16", "fp8", "fp8-e5m2", "fp8-scaled")


@pytest.fixture(scope="session")
def convert() -> Convert:
    """Run `krelease convert` in this process: preset -> the checkpoint it wrote.

    Of shards it is the first. `options` are passed on as they are; --quiet prints one
    path a line, in the order of `to`.
    """

    def run(
        source: Path, *to: str, out: Path, options: tuple[str, ...] = ()
    ) -> dict[str, Path]:
        presets = [f"--to={name}" for name in to]
        arguments = ["convert", str(source), *presets, f"--out={out}", "--quiet"]
        printed, errors = io.StringIO(), io.StringIO()
        with (
            redirect_stdout(printed),
            redirect_stderr(errors),
            pytest.raises(SystemExit) as stop,
        ):
            app([*arguments, "--threads=2", *options], prog_name="krelease")
        assert not stop.value.code, errors.getvalue()
        paths = [Path(line) for line in printed.getvalue().splitlines()]
        firsts = [
            path
            for path in paths
            if "-of-" not in path.name or "-00001-of-" in path.name
        ]
        return dict(zip(to, firsts, strict=True))

    return run


@pytest.fixture(scope="session")
def narrow(ingredients: dict[str, Path]) -> Path:
    """A narrow SDXL checkpoint in F16. Never write to it."""
    return ingredients["anxl2"]


@pytest.fixture(scope="session")
def converted(
    convert: Convert, narrow: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The narrow checkpoint in every preset. Never write to them."""
    return convert(narrow, *PRESETS, out=tmp_path_factory.mktemp("narrow"))


@pytest.fixture(scope="session")
def packaged() -> Callable[[str], Path]:
    """Return where the one .safetensors file of an installed package lies.

    The package itself is not imported.
    """

    def find(package: str) -> Path:
        found = [f for f in files(package) or () if f.suffix == ".safetensors"]
        assert len(found) == 1
        return Path(str(found[0].locate()))

    return find
