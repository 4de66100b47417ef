"""The plan of a pass: every tensor's sources, targets and places, before any reading.

A safetensors header precedes its data, so names, dtypes, shapes and offsets of every
output follow from the inputs' headers alone. Jobs are plain data, so that they can be
run by any executor.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from release.formats.checkpoint import Checkpoint
from release.formats.header import (
    TensorEntry,
    TensorSpec,
    encode_header,
    lay_out,
)
from release.metadata import (
    DATA_SHA256_KEY,
    INGREDIENTS_KEY,
    TENSOR_DIGESTS_KEY,
    TENSOR_SET_KEY,
)
from release.numeric.dtype import Dtype

SHA256_PLACEHOLDER: Final = "0x" + "0" * 64
XXH3_128_HEX_LENGTH: Final = 32


@dataclass(frozen=True, slots=True)
class Operand:
    """One ingredient's part in a tensor.

    `coefficient` is what the tensor is multiplied by; it is 0 for an ingredient that is
    read only for its digest.
    """

    ingredient: int
    entry: TensorEntry
    coefficient: float


@dataclass(frozen=True, slots=True)
class Target:
    """Where a tensor goes: output number, dtype, absolute byte offset."""

    output: int
    dtype: Dtype
    offset: int


@dataclass(frozen=True, slots=True)
class TensorJob:
    """One tensor: read its operands, combine, write its targets.

    A `copied` tensor is taken from the first operand bit for bit, and the others must
    hold the same bytes.
    """

    name: str
    component: str
    n_elements: int
    copied: bool
    operands: tuple[Operand, ...]
    targets: tuple[Target, ...]

    @property
    def read_nbytes(self) -> int:
        """Bytes read from all operands."""
        return sum(operand.entry.nbytes for operand in self.operands)


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """One checkpoint to be written, under `name` in a folder given later.

    `metadata` holds placeholders of the final length for what is known only after the
    pass, so `header_nbytes` and `nbytes` are final.
    """

    variant: str
    name: str
    metadata: Mapping[str, str]
    entries: tuple[TensorEntry, ...]
    header_nbytes: int

    @property
    def nbytes(self) -> int:
        """Size of the finished file, header included."""
        data_nbytes = self.entries[-1].end if self.entries else 0
        return self.header_nbytes + data_nbytes


@dataclass(frozen=True, slots=True)
class Ingredient:
    """A named input checkpoint."""

    name: str
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole pass."""

    ingredients: tuple[Ingredient, ...]
    outputs: tuple[OutputPlan, ...]
    jobs: tuple[TensorJob, ...]

    @property
    def read_nbytes(self) -> int:
        """Bytes that the pass reads."""
        return sum(job.read_nbytes for job in self.jobs)

    @property
    def write_nbytes(self) -> int:
        """Bytes of all outputs."""
        return sum(output.nbytes for output in self.outputs)


@dataclass(frozen=True, slots=True)
class TensorSource:
    """Where a tensor of the result comes from, as the recipe says.

    `operands` are (ingredient number, coefficient), in the fixed order of summation. A
    tensor that is not `written` is read for its ingredient's digest only.
    """

    shape: tuple[int, ...]
    component: str
    copied: bool
    operands: tuple[tuple[int, float], ...]
    written: bool = True


@dataclass(frozen=True, slots=True)
class OutputRequest:
    """What is wanted of one output: file name, dtypes, metadata."""

    variant: str
    name: str
    dtypes: Mapping[str, Dtype]
    metadata: Mapping[str, str]


def _plan_output(
    request: OutputRequest,
    sources: Mapping[str, TensorSource],
    ingredient_names: Sequence[str],
) -> OutputPlan:
    """Lay out one output and reserve room for the digests in its header."""
    entries = lay_out(
        TensorSpec(name, request.dtypes[name], source.shape)
        for name, source in sources.items()
        if source.written
    )
    metadata = {
        **request.metadata,
        INGREDIENTS_KEY: ingredients_text(
            dict.fromkeys(ingredient_names, "0" * XXH3_128_HEX_LENGTH)
        ),
        DATA_SHA256_KEY: SHA256_PLACEHOLDER,
        TENSOR_DIGESTS_KEY: "0" * (XXH3_128_HEX_LENGTH * len(entries)),
        TENSOR_SET_KEY: "0" * XXH3_128_HEX_LENGTH,
    }
    header_nbytes = len(encode_header(metadata, entries))
    return OutputPlan(request.variant, request.name, metadata, entries, header_nbytes)


def plan_pass(
    ingredients: Sequence[Ingredient],
    sources: Mapping[str, TensorSource],
    requests: Sequence[OutputRequest],
) -> Plan:
    """Return the plan that makes the requested outputs from the ingredients.

    Args:
        ingredients: Open checkpoints; operands refer to them by position.
        sources: Tensor name of the result -> where it comes from. Every ingredient
            named there holds the tensor in that shape.
        requests: The outputs.
    """
    names = [ingredient.name for ingredient in ingredients]
    outputs = tuple(_plan_output(request, sources, names) for request in requests)
    places = [
        {
            entry.name: Target(number, entry.dtype, output.header_nbytes + entry.begin)
            for entry in output.entries
        }
        for number, output in enumerate(outputs)
    ]
    jobs = tuple(
        TensorJob(
            name=name,
            component=sources[name].component,
            n_elements=math.prod(sources[name].shape),
            copied=sources[name].copied,
            operands=tuple(
                Operand(number, ingredients[number].checkpoint.tensors[name], value)
                for number, value in sources[name].operands
            ),
            targets=tuple(place[name] for place in places if name in place),
        )
        for name in _job_order(outputs, sources)
    )
    return Plan(tuple(ingredients), outputs, jobs)


def _job_order(
    outputs: Sequence[OutputPlan], sources: Mapping[str, TensorSource]
) -> list[str]:
    """Return tensor names in the order that fills every output nearly from its start.

    The SHA-256 of a data section follows the pass from the front, so the order is that
    of the output with the most dtypes: the others differ from it only by small tensors.
    """
    leading = max(
        outputs, key=lambda output: len({entry.dtype for entry in output.entries})
    )
    unwritten = [name for name, source in sources.items() if not source.written]
    return [*(entry.name for entry in leading.entries), *unwritten]


def ingredients_text(digests: Mapping[str, str]) -> str:
    """Return the metadata value that names the ingredients by their tensor sets.

    Args:
        digests: Ingredient name -> tensor set digest, 32 hex digits; the digits may be
            zeros while they are not known, which leaves the length as it will be.
    """
    return json.dumps(digests, sort_keys=True, separators=(",", ":"))
