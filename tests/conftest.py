"""What all tests share: the command line in process, and small SDXL checkpoints."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from release.card.presentation import presentation_of
from release.catalog.find import find_definition
from release.cli import app
from release.definition import Definition
from release.engine.standin import make_stand_ins
from release.folder import build_folder
from release.ingredients import locate
from release.progress import NoProgress

NAMES = ("anxl2", "anxl3", "base8", "beta7")
"""The ingredients of gamma-rev2, in the order of summation."""

DIVISOR = 32
"""Of SDXL's widths: 3.5 M parameters, 7 MB in F16, and every true tensor name."""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def krelease(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line in this process: exit code, stdout, stderr."""

    def run(*args: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            app([str(arg) for arg in args], prog_name="krelease")
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    return run


@pytest.fixture(scope="session")
def ingredients(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Four related narrow SDXL checkpoints, by ingredient name. Never write to them."""
    folder = tmp_path_factory.mktemp("ingredients")
    paths = {name: folder / f"{name}.safetensors" for name in NAMES}
    make_stand_ins(paths, divisor=DIVISOR)
    return paths


@pytest.fixture(scope="session")
def gamma_rev2(tmp_path_factory: pytest.TempPathFactory) -> Definition:
    """The catalog's gamma-rev2."""
    return find_definition("gamma-rev2", tmp_path_factory.mktemp("empty"))[0]


@pytest.fixture(scope="session")
def release_folder(
    tmp_path_factory: pytest.TempPathFactory,
    ingredients: dict[str, Path],
    gamma_rev2: Definition,
) -> Path:
    """A complete release folder of gamma-rev2. Never write to it: copy it."""
    folder = tmp_path_factory.mktemp("built") / "gamma-rev2"
    located = locate(gamma_rev2, ingredients, base=Path(), connection=None)
    build_folder(
        gamma_rev2,
        located,
        folder,
        threads=2,
        progress=NoProgress(),
        presentation=presentation_of(gamma_rev2, Path()),
    )
    return folder


@pytest.fixture
def given(ingredients: dict[str, Path]) -> list[str]:
    """The ingredients as command line options."""
    return [f"--ingredient={name}={path}" for name, path in ingredients.items()]


@pytest.fixture(scope="session")
def quantised() -> ModuleType:
    """The module quantised.py: small fp8 checkpoints in every layout."""
    path = Path(__file__).with_name("quantised.py")
    spec = importlib.util.spec_from_file_location("quantised", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
