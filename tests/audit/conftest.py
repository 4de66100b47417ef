"""Narrow merges computed in numpy, right and wrong, and audits of them."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from release.audit.audit import AuditOptions
from release.audit.audit import audit as run_audit
from release.audit.report import raise_if_different
from release.cli.audit_recipe import ask
from release.convert.source import Source, SourceOptions, open_source
from release.engine.plan import Ingredient
from release.engine.standin import make_stand_ins
from release.errors import ParityError
from release.progress import NoProgress

NAMES = ("anxl2", "anxl3", "base8", "beta7")
LIST = "0,0.1,0.1,0,0.1,0.1,0,0.1,0.1,0,0,0,0,0,0.05,0.05,0.05,0.05,0.05,0.05"
BLOCKS = ["BASE", *(f"IN{n}" for n in range(9)), "M", *(f"OUT{n}" for n in range(9))]
COPIED = ("position_ids", "logit_scale")

Tensors = dict[str, np.ndarray]
Formula = Callable[[Mapping[str, np.ndarray], float], np.ndarray]


@dataclass(frozen=True)
class Audited:
    """What an audit found, as a document, and the error it ends a command with."""

    code: int
    document: dict[str, Any]
    said: str

    @property
    def verdict(self) -> str:
        return self.document["verdict"]

    def finding(self, verdict: str) -> dict[str, Any]:
        """Return the only finding of a verdict."""
        (found,) = [f for f in self.document["findings"] if f["verdict"] == verdict]
        return found


def block_of(name: str) -> str:
    """Tell SuperMerger's block from the parts of a name."""
    top, _, *rest = name.split(".")
    if top in {"conditioner", "first_stage_model"}:
        return "BASE"
    numbered = {"input_blocks": "IN", "output_blocks": "OUT"}
    if rest[0] in numbered:
        return f"{numbered[rest[0]]}{rest[1]}"
    return {"time_embed": "IN0", "label_emb": "IN0", "out": "OUT8"}.get(rest[0], "M")


def weight_of(name: str, listed: str = LIST) -> float:
    is_merged = "weight" in name or "bias" in name
    return float(listed.split(",")[BLOCKS.index(block_of(name))]) if is_merged else 0.0


def gamma(x: Mapping[str, np.ndarray], w: float) -> np.ndarray:
    """gamma rev2 by its row of coefficients, in float64, rounded once."""
    rest = 1 - Fraction(str(w))
    row = (-rest, Fraction(1), rest / 4, rest * 3 / 4)
    terms = [
        float(value) * x[name].astype(np.float64)
        for value, name in zip(row, NAMES, strict=True)
    ]
    return (terms[0] + terms[1] + terms[2] + terms[3]).astype(np.float16)


@pytest.fixture(scope="session")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The ingredients of gamma-rev2 at a 64th of the widths, and a stranger."""
    folder = tmp_path_factory.mktemp("narrow")
    names = (*NAMES, "stranger")
    paths = {name: folder / f"{name}.safetensors" for name in names}
    make_stand_ins(paths, divisor=64)
    return paths


@pytest.fixture(scope="session")
def models(narrow: dict[str, Path]) -> dict[str, Tensors]:
    return {name: safetensors.numpy.load_file(path) for name, path in narrow.items()}


@pytest.fixture(scope="session")
def merged(models: dict[str, Tensors]) -> Callable[..., Tensors]:
    """Merge in numpy: a formula of the ingredients and the block weight."""

    def run(formula: Formula = gamma, listed: str = LIST) -> Tensors:
        found = {}
        for name, tensor in models["beta7"].items():
            x = {each: models[each][name] for each in NAMES}
            is_copied = name.endswith(COPIED)
            found[name] = tensor if is_copied else formula(x, weight_of(name, listed))
        return found

    return run


@pytest.fixture(scope="session")
def weight() -> Callable[[str], float]:
    """Tell the block weight of a tensor in gamma rev2."""
    return weight_of


@pytest.fixture(scope="session")
def rev2(merged: Callable[..., Tensors]) -> Tensors:
    """gamma rev2. Never change it: copy it."""
    return merged()


@pytest.fixture(scope="session")
def opened() -> Iterator[Callable[[str, Path], Ingredient]]:
    """Open ingredients once for all tests: reading headers takes half an audit."""
    known: dict[Path, Source] = {}
    with ExitStack() as stack:

        def run(name: str, path: Path) -> Ingredient:
            if path not in known:
                source = open_source(path, SourceOptions())
                known[path] = stack.enter_context(source)
            return Ingredient(name, known[path].checkpoint, known[path].layout)

        yield run


@pytest.fixture
def audit(
    narrow: dict[str, Path], opened: Callable[[str, Path], Ingredient], tmp_path: Path
) -> Callable[..., Audited]:
    """Write tensors as a file and audit it, as gamma-rev2 unless told otherwise."""

    def run(
        tensors: Tensors | Path,
        *,
        sample: bool = False,
        names: tuple[str, ...] = NAMES,
        paths: Mapping[str, Path] | None = None,
        declared: tuple[str, str] = ("release", "gamma-rev2"),
    ) -> Audited:
        path = tensors if isinstance(tensors, Path) else tmp_path / "file.safetensors"
        if not isinstance(tensors, Path):
            safetensors.numpy.save_file(tensors, path, {"format": "pt"})
        given = {name: {**narrow, **(paths or {})}[name] for name in names}
        with open_source(path, SourceOptions()) as source:
            texts = {name: str(each) for name, each in given.items()}
            asked = ask(source.checkpoint, texts, declared, convention=None)
            report = run_audit(
                Ingredient("file", source.checkpoint, source.layout),
                asked.question(given),
                {name: opened(name, each) for name, each in given.items()},
                AuditOptions(sample=sample, threads=1),
                progress=NoProgress(),
            )
        code, said = 0, ""
        try:
            raise_if_different(report)
        except ParityError as error:
            code, said = error.exit_code, f"error: {error}\nhint: {error.hint}"
        return Audited(code, json.loads(json.dumps(report.document())), said)

    return run
