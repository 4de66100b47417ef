"""A small release folder, with a manifest in the true form."""

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
import safetensors.torch
import torch

from release.convert.options import ConvertOptions
from release.convert.plan import plan_convert
from release.convert.run import convert
from release.convert.source import SourceOptions, open_source
from release.formats.output import write_text_file
from release.manifest import Manifest, read_manifest
from release.progress import NoProgress
from release.records import checkpoint_record, file_record
from release.variants.preset import find_preset


def small_model() -> dict[str, torch.Tensor]:
    """Return tensors of a few layers with SDXL's names and other shapes."""
    generator = torch.Generator().manual_seed(5)
    return {
        "conditioner.embedders.1.model.ln_final.weight": torch.ones(9),
        "first_stage_model.decoder.conv_in.weight": torch.randn(
            6, 4, 3, 3, generator=generator
        ),
        "model.diffusion_model.out.2.bias": torch.randn(5, generator=generator),
        "model.diffusion_model.out.2.weight": torch.randn(
            5, 8, 3, 3, generator=generator
        ),
        "ids": torch.arange(77),
    }


@pytest.fixture(scope="session")
def small_release(
    tmp_path_factory: pytest.TempPathFactory, release_folder: Path
) -> Path:
    """A release folder with fp16 and fp8 of a small model. Copy it."""
    folder = tmp_path_factory.mktemp("small") / "release"
    folder.mkdir()
    source = folder.parent / "small.safetensors"
    safetensors.torch.save_file(small_model(), source)
    options = ConvertOptions((find_preset("fp16"), find_preset("fp8")), identifies=True)
    with open_source(source, SourceOptions()) as opened:
        plan = plan_convert(opened, options)
        converted = convert(plan, folder, threads=2, progress=NoProgress())
    for record in folder.glob("*.krelease.json"):
        record.unlink()  # a release has one manifest for all its files
    reports = [part for each in converted for part in each.parts]
    files = []
    for name, role in (("README.md", "card"), ("small.zip", "archive")):
        write_text_file(folder / name, f"text of {name}\n" * 50)
        files.append(file_record(folder / name, role))
    manifest = read_manifest(release_folder / "manifest.json").model_copy(
        update={
            "checkpoints": tuple(
                checkpoint_record(report, architecture="sdxl") for report in reports
            ),
            "files": tuple(files),
        }
    )
    Manifest.model_validate_json(manifest.to_json())
    write_text_file(folder / "manifest.json", manifest.to_json())
    return folder


@pytest.fixture
def folder(tmp_path: Path, small_release: Path) -> Path:
    """A copy of the small release, to be damaged."""
    return Path(shutil.copytree(small_release, tmp_path / "release"))


@pytest.fixture(scope="session")
def zips() -> ModuleType:
    """The module zips.py: archives with any defect."""
    path = Path(__file__).with_name("zips.py")
    spec = importlib.util.spec_from_file_location("verify_zips", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
