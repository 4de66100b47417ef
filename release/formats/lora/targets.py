"""Which tensors of a model a LoRA changes, and by what."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from release.errors import (
    ShapeError,
    TensorMismatchError,
    first_names,
    visible,
)
from release.formats.checkpoint import Checkpoint
from release.formats.hints import FAULTY_WRITER
from release.formats.lora.alpha import Scales, read_scales
from release.formats.lora.factor_check import Shape
from release.formats.lora.families import WeightChange, weight_change
from release.formats.lora.modules import (
    NOT_THIS_MODEL,
    Module,
    read_modules,
    unmatched,
)
from release.formats.lora.places import Names, Place
from release.formats.lora.roles import Role
from release.formats.lora.rows import Rows, bias_rows, rows_of
from release.formats.tensor import TensorEntry
from release.numeric.dtype import Dtype


@dataclass(frozen=True, slots=True)
class Source:
    """What one module does to a tensor or to one of its parts.

    Attributes:
        module: The module.
        change: What it does to a weight; None for a bias.
        n_rows: First dimension of the change.
        scale: What the rows are multiplied by.
    """

    module: Module
    change: WeightChange | None
    n_rows: int
    scale: float

    def rows(self, checkpoint: Checkpoint) -> Rows:
        """Return the rows of the change; see `release.formats.lora.rows.rows_of`."""
        if self.change is None:
            return bias_rows(checkpoint, self.module)
        return rows_of(checkpoint, self.change)


@dataclass(frozen=True, slots=True)
class Target:
    """A tensor of the model that changes.

    Attributes:
        entry: Its change as a tensor: F32, in the model's shape.
        sources: What changes each of its parts, by number.
        n_parts: How many parts there are.
        transposed: Whether the sources hold it transposed.
    """

    entry: TensorEntry
    sources: Mapping[int, Source]
    n_parts: int
    transposed: bool


def read_targets(
    checkpoint: Checkpoint, model: Mapping[str, TensorEntry], names: Names
) -> list[Target]:
    """Return all that a LoRA changes, in the order of the model.

    Args:
        checkpoint: The LoRA.
        model: The tensors of the model, by name.
        names: What its modules are called.

    Raises:
        CheckpointError: As for `LoraCheckpoint`.
    """
    modules = read_modules(checkpoint.path, checkpoint.tensors)
    places = _places(checkpoint.path, modules, names)
    scales = read_scales(checkpoint)
    found: dict[str, dict[int, tuple[Place, Source]]] = {}
    for module in modules:
        for place, source in _sources(checkpoint.path, module, places, scales):
            _check_shape(checkpoint.path, place, source, model[place.tensor].shape)
            parts = found.setdefault(place.tensor, {})
            if place.part in parts:
                raise _twice(checkpoint.path, place, parts[place.part][1], source)
            parts[place.part] = place, source
    return _laid_out(model, found)


def _places(path: Path, modules: Iterable[Module], names: Names) -> Mapping[str, Place]:
    """Return where each name of the file belongs, with ".weight" or ".bias"."""
    found: dict[str, Place] = {}
    unknown: list[str] = []
    for module in modules:
        for parameter, roles in _parameters(module).items():
            name = f"{module.name}.{parameter}"
            choice = names.get(name, ())
            if len(choice) > 1:
                raise TensorMismatchError(
                    path,
                    f"{visible(module.name)} may be "
                    f"{first_names(place.tensor for place in choice)}, expected a name "
                    f"for one of them",
                    code="lora-ambiguous",
                    hint="rename it in the spelling of diffusers",
                )
            if choice:
                found[name] = choice[0]
            else:
                unknown.extend(module.tensors[role].name for role in roles)
    if unknown:
        raise unmatched(path, unknown)
    return found


def _parameters(module: Module) -> dict[str, list[Role]]:
    """Return the roles of a module by the parameter that they change."""
    found: dict[str, list[Role]] = {}
    for role in module.tensors:
        parameter = "bias" if role is Role.DIFF_BIAS else "weight"
        found.setdefault(parameter, []).append(role)
    return found


def _sources(
    path: Path, module: Module, places: Mapping[str, Place], scales: Scales
) -> Iterable[tuple[Place, Source]]:
    change = weight_change(path, module)
    if change is not None:
        yield (
            places[f"{module.name}.weight"],
            Source(module, change, change.shape[0], scales.of(change)),
        )
    bias = module.tensors.get(Role.DIFF_BIAS)
    if bias is not None:
        yield (
            places[f"{module.name}.bias"],
            Source(module, None, math.prod(bias.shape[:1]), 1.0),
        )


def _check_shape(path: Path, place: Place, source: Source, shape: Shape) -> None:
    """Refuse a change of another shape than the model's tensor.

    Trailing dimensions of 1 are none: SD's attentions project by convolutions of size
    1 x 1 or by matrices, and trainers take one for the other. A convolution's kernel
    may be flattened into the columns.
    """
    expected = shape
    if place.n_parts > 1:
        expected = (shape[0] // place.n_parts, *shape[1:])
    if place.transposed:
        expected = shape[::-1]
    if source.change is None:
        got = source.module.tensors[Role.DIFF_BIAS].shape
        name = source.module.tensors[Role.DIFF_BIAS].name
    else:
        got, name = source.change.shape, source.module.name
    flat = (expected[0], math.prod(expected[1:])) if expected else expected
    is_whole = not place.n_parts > 1 or shape[0] % place.n_parts == 0
    if not is_whole or _trimmed(got) not in (_trimmed(expected), _trimmed(flat)):
        raise ShapeError(
            path,
            f"{visible(name)} changes a tensor of shape {visible(list(got))}, expected "
            f"{visible(list(expected))} as {visible(place.tensor)} has",
            code="lora-shape",
            hint=NOT_THIS_MODEL,
        )


def _trimmed(shape: Shape) -> Shape:
    """Return a shape without trailing dimensions of 1."""
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _twice(
    path: Path, place: Place, first: Source, second: Source
) -> TensorMismatchError:
    return TensorMismatchError(
        path,
        f"{visible(first.module.name)} and {visible(second.module.name)} both change "
        f"{visible(place.tensor)}, expected one of them",
        code="lora-duplicate",
        hint=FAULTY_WRITER,
    )


def _laid_out(
    model: Mapping[str, TensorEntry],
    found: Mapping[str, Mapping[int, tuple[Place, Source]]],
) -> list[Target]:
    """Return the targets in a virtual data section, in the order of the model."""
    targets: list[Target] = []
    begin = 0
    for name, entry in model.items():
        if name not in found:
            continue
        end = begin + entry.n_elements * Dtype.F32.bits // 8
        place = next(iter(found[name].values()))[0]
        targets.append(
            Target(
                entry=TensorEntry(name, Dtype.F32, entry.shape, begin, end),
                sources={number: pair[1] for number, pair in found[name].items()},
                n_parts=place.n_parts,
                transposed=place.transposed,
            )
        )
        begin = end
    return targets
