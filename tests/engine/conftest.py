"""Small checkpoints, planned and merged without a recipe."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
import safetensors.torch
import torch

from release.engine.execute import execute
from release.engine.plan import (
    Ingredient,
    OutputRequest,
    Plan,
    TensorSource,
    plan_pass,
)
from release.engine.results import PassReport
from release.formats.open import open_checkpoint
from release.numeric.dtype import Dtype

Tensors = Mapping[str, torch.Tensor]


class Workshop:
    """Two folders, `inputs` and `out`, and the way from one to the other."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self.inputs = root / "inputs"
        self.out = root / "out"
        self.inputs.mkdir()
        self.out.mkdir()
        self._stack = stack

    def plan(
        self,
        ingredients: Mapping[str, Tensors],
        row: Mapping[str, float],
        *dtypes: Dtype,
        copied: Collection[str] = (),
    ) -> Plan:
        """Write the ingredients and plan `sum(row[name] * ingredients[name])`."""
        opened = []
        for name, tensors in ingredients.items():
            path = self.inputs / f"{name}.safetensors"
            safetensors.torch.save_file(dict(tensors), path)
            checkpoint = self._stack.enter_context(open_checkpoint(path))
            opened.append(Ingredient(name, checkpoint))
        operands = tuple(enumerate(row[name] for name in ingredients))
        sources = {
            name: TensorSource(tuple(tensor.shape), "other", name in copied, operands)
            for name, tensor in next(iter(ingredients.values())).items()
        }
        kept = opened[0].checkpoint.tensors
        requests = [
            OutputRequest(
                variant=dtype.code,
                name=f"{dtype.code}.safetensors",
                dtypes={
                    name: kept[name].dtype if name in copied else dtype
                    for name in sources
                },
                metadata={"format": "pt"},
            )
            for dtype in dtypes
        ]
        return plan_pass(opened, sources, requests)

    def run(
        self,
        plan: Plan,
        *,
        threads: int = 2,
        advance: Callable[[int], None] = lambda _: None,
    ) -> PassReport:
        """Carry out a plan in `out`."""
        return execute(plan, self.out, threads=threads, advance=advance)

    def load(self, dtype: Dtype) -> dict[str, torch.Tensor]:
        """Read an output with the safetensors library."""
        return safetensors.torch.load_file(self.out / f"{dtype.code}.safetensors")


@pytest.fixture(scope="session")
def new_workshop(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[], AbstractContextManager[Workshop]]:
    """Return a way to open one workshop after another."""

    @contextmanager
    def opened() -> Iterator[Workshop]:
        with ExitStack() as stack:
            yield Workshop(tmp_path_factory.mktemp("workshop"), stack)

    return opened


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    """A place to merge small checkpoints in."""
    with ExitStack() as stack:
        yield Workshop(tmp_path, stack)
