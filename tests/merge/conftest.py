"""`krelease merge` in this process, and small checkpoints in every form it reads."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import safetensors.numpy

from release.cli import app
from release.engine.standin import make_stand_ins

UNET = "model.diffusion_model."
CLIP_L = "conditioner.embedders.0.transformer.text_model.encoder.layers."
CLIP_G = "conditioner.embedders.1.model.transformer.resblocks."

LONG = {
    f"{UNET}input_blocks.4.1.proj_in.weight": (600, 500),
    f"{CLIP_L}3.mlp.fc1.weight": (520, 510),
    f"{CLIP_G}5.mlp.c_fc.weight": (700, 400),
    "first_stage_model.decoder.mid.block_1.conv1.weight": (300, 100, 3, 3),
}
"""Tensors of more than one chunk of 262,144 elements, one in each component."""


def load(path: Path) -> ModuleType:
    """Return a module of the tests, which are no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


command_line = load(Path(__file__).parents[1] / "command_line.py")
here = command_line.here


@pytest.fixture(scope="session")
def formulas() -> ModuleType:
    """The module formulas.py: what merges should give, in numpy alone."""
    return load(Path(__file__).with_name("formulas.py"))


@pytest.fixture(scope="session")
def run_merge() -> Callable[..., None]:
    """Run `krelease merge` where nothing is captured; it must succeed."""

    def run(*args: object) -> None:
        with pytest.raises(SystemExit) as stop:
            app(["merge", *map(str, args), "--quiet"], prog_name="krelease")
        assert not stop.value.code

    return run


@pytest.fixture
def merge(krelease, here: Path):
    """Run `krelease merge`, which must succeed."""
    return lambda *args: command_line.written(krelease, "merge", *args)


@pytest.fixture
def refused(krelease, here: Path):
    """Run `krelease merge`, which must fail, say why, and change nothing."""
    return lambda *args: command_line.refusal(krelease, here, "merge", *args)


@pytest.fixture(scope="session")
def base7(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ingredient of gamma-rev1 that gamma-rev2 does not have."""
    path = tmp_path_factory.mktemp("base7") / "base7.safetensors"
    make_stand_ins({"base7": path}, divisor=32)
    return path


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three small checkpoints a, b and c with a `LONG` tensor in each component."""
    folder = tmp_path_factory.mktemp("models")
    paths = {name: folder / f"{name}.safetensors" for name in "abc"}
    make_stand_ins(paths, divisor=64)
    random = np.random.default_rng(4)
    shared = {name: random.normal(0, 0.02, shape) for name, shape in LONG.items()}
    for path in paths.values():
        tensors = safetensors.numpy.load_file(path)
        for name, shape in LONG.items():
            own = random.normal(0, 0.01, shape)
            tensors[name] = (shared[name] + own).astype(np.float16)
        safetensors.numpy.save_file(tensors, path, {"format": "pt"})
    return paths


@pytest.fixture(scope="session")
def options() -> Callable[[dict[str, Path]], list[str]]:
    """Return ingredients as command line options."""
    return lambda paths: [f"-i{name}={path}" for name, path in paths.items()]


@pytest.fixture
def edited(here: Path, models: dict[str, Path]) -> Callable[..., Path]:
    """Write a copy of one of the models with its tensors changed."""

    def write(name: str, change: Callable[[dict[str, np.ndarray]], object]) -> Path:
        tensors = safetensors.numpy.load_file(models[name])
        change(tensors)
        path = here / f"{name}.safetensors"
        safetensors.numpy.save_file(tensors, path)
        return path

    return write
