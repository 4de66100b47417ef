"""Single runs of merges, by krelease and its peers; each checks the result.

The result is removed again, if a run does not say that it leaves it.
"""

import json
import shutil
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from runs import KRELEASE, check
from scratch import CATALOG, HERE, Material
from timing import BenchError, PeerError, Sample, spawn

STEM = "kohaku-xl-gamma-rev2"

_MORE: Final = "0.125*(beta7_b - anxl3_b) + 0.0625*(anxl2_b - base8_b)"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is merged.

    Attributes:
        name: As check_tensors.py knows it.
        expression: As `krelease merge` takes it.
        pairs: The ingredients as NAME=PATH.
    """

    name: str
    expression: str
    pairs: tuple[str, ...]

    @property
    def paths(self) -> list[Path]:
        """The ingredients' files."""
        return [Path(pair.partition("=")[2]) for pair in self.pairs]


def gamma(material: Material) -> Recipe:
    """Return the sum of four ingredients, the same in every block."""
    return Recipe("gamma", _steps()["gamma"], tuple(material.pairs))


def rev2(material: Material) -> Recipe:
    """Return gamma with the catalog's block weights of anxl3."""
    steps = _steps()
    expression = steps["rev2"].replace("gamma", f"({steps['gamma']})", 1)
    return Recipe("rev2", expression, tuple(material.pairs))


def _steps() -> dict[str, str]:
    text = CATALOG.read_text(encoding="utf-8")
    steps: dict[str, str] = tomllib.loads(text)["recipe"]["steps"]
    return steps


@contextmanager
def eight(material: Material) -> Iterator[Recipe]:
    """Give gamma with four more terms, whose files are second links to the first."""
    links = {
        f"{name}_b": path.with_name(f"{name}_b.safetensors")
        for name, path in material.ingredients.items()
    }
    for link, path in zip(links.values(), material.ingredients.values(), strict=True):
        link.hardlink_to(path)
    more = [f"{name}={link}" for name, link in links.items()]
    expression = f"{_steps()['gamma']} + {_MORE}"
    try:
        yield Recipe("eight", expression, (*material.pairs, *more))
    finally:
        for link in links.values():
            link.unlink()


def merge(material: Material, recipe: Recipe, presets: Sequence[str]) -> Sample:
    """Merge with krelease: to one file, or for several presets to a folder."""
    folder = material.folder / "merged"
    folder.mkdir()
    sample = merge_into(folder, recipe, presets)
    shutil.rmtree(folder)
    return sample


def merge_into(folder: Path, recipe: Recipe, presets: Sequence[str]) -> Sample:
    """Merge with krelease, and leave the results in `folder`, which is there."""
    name = "merge-fp16.safetensors"
    out = folder / name if list(presets) == ["fp16"] else folder
    wanted = [f"--to={preset}" for preset in presets]
    given = [f"--ingredient={pair}" for pair in recipe.pairs]
    sample = spawn(
        [KRELEASE, "merge", recipe.expression, *given, *wanted, "--out", out]
    )
    for preset in presets:
        result = folder / f"merge-{preset}.safetensors"
        check(result, preset, recipe.pairs, recipe=recipe.name)
    return sample


def build_folder(material: Material, folder: Path, variants: Sequence[str]) -> Sample:
    """Build the release of rev2 into `folder` and leave it there."""
    given = [f"--ingredient={pair}" for pair in material.pairs]
    source = f"--definition={material.definition(variants)}"
    sample = spawn([KRELEASE, "build", "--json", source, "--out", folder, *given])
    _check_release(material, folder, variants)
    return sample


def build(material: Material, variants: Sequence[str]) -> Sample:
    """Build the release of rev2 and remove it."""
    folder = material.folder / "built"
    sample = build_folder(material, folder, variants)
    shutil.rmtree(folder)
    return sample


def engine_pass(material: Material, variants: Sequence[str]) -> Sample:
    """Run the engine within a process that is already running."""
    folder = material.folder / "passed"
    folder.mkdir()
    script = HERE / "engine_pass.py"
    definition = material.definition(variants)
    sample = spawn([sys.executable, script, definition, folder, *material.pairs])
    _check_release(material, folder, variants)
    shutil.rmtree(folder)
    return replace(sample, seconds=float(sample.stdout))


def _check_release(material: Material, folder: Path, variants: Sequence[str]) -> None:
    for variant in variants:
        result = folder / f"{STEM}-{variant}.safetensors"
        check(result, variant, material.pairs, recipe="rev2")


def sd_mecha(python: Path, material: Material) -> Sample:
    """Merge rev2 with sd-mecha. It rounds in float32: two steps of F16 are let pass."""
    output = material.folder / "sd-mecha.safetensors"
    script = HERE / "peer_sd_mecha.py"
    sample = spawn([python, script, material.folder, output])
    check(output, "fp16", material.pairs, recipe="rev2", tolerance=2)
    output.unlink()
    return sample


MERGEKIT_WEIGHTS: Final = {"beta7": 0.75, "anxl3": 1.0, "anxl2": -1.0, "base8": 0.25}


def mergekit(python: Path, material: Material) -> Sample:
    """Merge gamma with mergekit-pytorch. It sums in float32: one step is let pass.

    Raises:
        PeerError: It failed, or its result is wrong.
    """
    recipe = material.folder / "gamma.yml"
    recipe.write_text(mergekit_recipe(material), encoding="utf-8")
    folder = material.folder / "mergekit"
    program = python.with_name("mergekit-pytorch")
    try:
        sample = spawn(["env", "HF_HUB_OFFLINE=1", program, "--quiet", recipe, folder])
        result = folder / "model.safetensors"
        check(result, "fp16", material.pairs, recipe="gamma", tolerance=1)
    except BenchError as error:
        raise PeerError(str(error)) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        recipe.unlink()
    return sample


def mergekit_recipe(material: Material) -> str:
    """Return gamma as mergekit reads it: YAML, of which JSON is a part."""
    models = [
        {"model": str(material.ingredients[name]), "parameters": {"weight": weight}}
        for name, weight in MERGEKIT_WEIGHTS.items()
    ]
    return json.dumps(
        {
            "merge_method": "linear",
            "parameters": {"normalize": False},
            "models": models,
        }
    )


def cat_and_cp(recipe: Recipe) -> Sample:
    """Read every ingredient, and write one file as large as the result."""
    paths = recipe.paths
    output = paths[0].with_name("copied.safetensors")
    script = 'out=$1; shift; cat "$@" > /dev/null && cp --reflink=never "$1" "$out"'
    sample = spawn(["sh", "-c", script, "sh", output, *paths])
    if output.stat().st_size != paths[0].stat().st_size:
        raise BenchError(f"{output}: not a copy")
    output.unlink()
    return sample
