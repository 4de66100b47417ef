"""The two models of an extraction: opened, and the layers that both have."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from release.architecture.lora_modules import LoraModule, lora_modules
from release.convert.source import Source, SourceOptions, open_source
from release.engine.plan import Ingredient, tensors_of
from release.errors import ShapeError, TensorMismatchError, first_names, visible

_NAMES: Final = ("a", "b")
"""What the header calls the two models."""


@dataclass(frozen=True, slots=True)
class Models:
    """The two models, open, with the same layers.

    Attributes:
        before: The model that the LoRA is for.
        after: The model that it shall lead to.
        modules: The layers of both.
    """

    before: Source
    after: Source
    modules: tuple[LoraModule, ...]

    @property
    def sources(self) -> tuple[Source, Source]:
        """Both, in the order in which operands number them."""
        return self.before, self.after

    @property
    def ingredients(self) -> tuple[Ingredient, Ingredient]:
        """Both as the engine reads them."""
        return _ingredient(_NAMES[0], self.before), _ingredient(_NAMES[1], self.after)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know of either, one line each."""
        return tuple(
            f"{visible(source.checkpoint.path.name)}: {line}"
            for source in self.sources
            for line in (*source.notes, *source.warnings)
        )


@contextmanager
def open_models(before: Path, after: Path) -> Iterator[Models]:
    """Open two models and check that one can become the other; closed at the end.

    Args:
        before: The model that the LoRA is for.
        after: The model that it shall lead to.

    Raises:
        CheckpointError: One cannot be read as what it claims to be.
        TensorMismatchError: `architecture-differs`, `missing-tensors` for a layer that
            only one has, or `no-layers`.
        ShapeError: `shape-differs`.
    """
    with ExitStack() as stack:
        first = stack.enter_context(open_source(before, SourceOptions()))
        second = stack.enter_context(open_source(after, SourceOptions()))
        yield Models(first, second, _common_modules(first, second))


def _ingredient(name: str, source: Source) -> Ingredient:
    return Ingredient(name, source.checkpoint, source.layout)


def _common_modules(first: Source, second: Source) -> tuple[LoraModule, ...]:
    if first.architecture != second.architecture:
        raise TensorMismatchError(
            second.checkpoint.path,
            f"is of architecture {second.architecture}; expected {first.architecture}, "
            f"as {visible(first.checkpoint.path.name)} is",
            code="architecture-differs",
            hint="both models must be of one architecture",
        )
    wanted, found = _modules(first), _modules(second)
    if not wanted:
        raise TensorMismatchError(
            first.checkpoint.path,
            "has no layer of a U-Net or text encoder under a name that is known",
            code="no-layers",
            hint="pass an all-in-one checkpoint or a diffusers folder of SDXL, SD1 or "
            "SD2; krelease inspect says what a file is",
        )
    _refuse_missing(second, first, wanted.keys() - found.keys())
    _refuse_missing(first, second, found.keys() - wanted.keys())
    for name, module in wanted.items():
        if module.shape != found[name].shape:
            raise ShapeError(
                second.checkpoint.path,
                f"{visible(module.place.tensor)} has shape {list(found[name].shape)}; "
                f"expected {list(module.shape)}, as in "
                f"{visible(first.checkpoint.path.name)}",
                code="shape-differs",
                hint="both models must be of one architecture",
            )
    return tuple(wanted.values())


def _modules(source: Source) -> dict[str, LoraModule]:
    tensors = tensors_of(_ingredient("", source))
    return {each.name: each for each in lora_modules(tensors, source.architecture)}


def _refuse_missing(source: Source, other: Source, names: set[str]) -> None:
    if names:
        raise TensorMismatchError(
            source.checkpoint.path,
            f"lacks {len(names):,} layers of {visible(other.checkpoint.path.name)}: "
            f"{first_names(sorted(names))}",
            code="missing-tensors",
            hint="pass two models with the same parts",
        )
