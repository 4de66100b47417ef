"""The plan of a pass: every tensor's sources, targets and places, before any reading.

A safetensors header precedes its data, so names, dtypes, shapes and offsets of every
output follow from the inputs' headers alone.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from release.engine.jobs import (
    Companions,
    MethodStep,
    Operand,
    Target,
    TensorJob,
)
from release.formats.checkpoint import Checkpoint
from release.formats.header import (
    TensorEntry,
    TensorSpec,
    encode_header,
    lay_out,
)
from release.formats.layouts.comfy import (
    METADATA_KEY,
    comfy_quant_bytes,
    quantization_metadata,
)
from release.formats.layouts.kinds import Layout
from release.formats.layouts.names import scale_names
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
        return self.header_nbytes + self.data_nbytes

    @property
    def data_nbytes(self) -> int:
        """Bytes of all its tensors."""
        return self.entries[-1].end if self.entries else 0


@dataclass(frozen=True, slots=True)
class Ingredient:
    """A named input checkpoint, and how its fp8 weights are to be read, if any are."""

    name: str
    checkpoint: Checkpoint
    layout: Layout | None = None


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

    `operands` are (ingredient number, coefficient), in the fixed order of summation;
    `methods` refer to them by their place. A
    tensor that no request names is read for its ingredient's digest only.
    """

    shape: tuple[int, ...]
    component: str
    copied: bool
    operands: tuple[tuple[int, float], ...]
    methods: tuple[MethodStep, ...] = ()


@dataclass(frozen=True, slots=True)
class OutputRequest:
    """What is wanted of one output: file name, dtypes, metadata.

    `dtypes` names the tensors that it holds. Those in `scaled`, all fp8 weights, are
    written in ComfyUI's layout, with a scale and a marker tensor beside each. With
    `clamps`, values beyond a dtype's finite range become its edge in every dtype, not
    only in fp8. All names begin with `prefix`, which they lack in the file.
    """

    variant: str
    name: str
    dtypes: Mapping[str, Dtype]
    metadata: Mapping[str, str]
    scaled: frozenset[str] = frozenset()
    clamps: bool = False
    prefix: str = ""

    def name_of(self, tensor: str) -> str:
        """Return what the file calls a tensor of the pass."""
        return tensor.removeprefix(self.prefix)


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
        _targets(number, output, request)
        for number, (output, request) in enumerate(zip(outputs, requests, strict=True))
    ]
    jobs = (
        TensorJob(
            name=name,
            component=sources[name].component,
            shape=sources[name].shape,
            copied=sources[name].copied,
            operands=tuple(
                _operand(ingredients, number, name, value)
                for number, value in sources[name].operands
            ),
            targets=tuple(place[name] for place in places if name in place),
            methods=sources[name].methods,
        )
        for name in _job_order(outputs, places, sources)
    )
    # Scales lie at the front of a file, and what follows a file from its front waits
    # for the last of them.
    ordered = sorted(jobs, key=lambda job: not job.is_scaled)
    return Plan(tuple(ingredients), outputs, tuple(ordered))


def tensors_of(ingredient: Ingredient) -> dict[str, TensorEntry]:
    """Return an ingredient's tensors without scales, in the dtypes of their values."""
    layout, tensors = ingredient.layout, ingredient.checkpoint.tensors
    if layout is None:
        return dict(tensors)
    return {
        name: _as_stored(entry, layout.stored_as.get(name, entry.dtype))
        for name, entry in tensors.items()
        if name not in layout.auxiliary
    }


def _as_stored(entry: TensorEntry, dtype: Dtype) -> TensorEntry:
    return entry if entry.dtype is dtype else replace(entry, dtype=dtype)


def ingredients_text(digests: Mapping[str, str]) -> str:
    """Return the metadata value that names the ingredients by their tensor sets.

    Args:
        digests: Ingredient name -> tensor set digest, 32 hex digits; the digits may be
            zeros while they are not known, which leaves the length as it will be.
    """
    return json.dumps(digests, sort_keys=True, separators=(",", ":"))


def _plan_output(
    request: OutputRequest,
    sources: Mapping[str, TensorSource],
    ingredient_names: Sequence[str],
) -> OutputPlan:
    """Lay out one output and reserve room for the digests in its header."""
    specs = [
        TensorSpec(request.name_of(name), dtype, sources[name].shape)
        for name, dtype in request.dtypes.items()
    ]
    for name in request.scaled:
        scale, marker = scale_names(request.name_of(name))
        text = comfy_quant_bytes(request.dtypes[name])
        specs.append(TensorSpec(scale, Dtype.F32, ()))
        specs.append(TensorSpec(marker, Dtype.U8, (len(text),)))
    entries = lay_out(specs)
    metadata = {
        **request.metadata,
        **_scaled_metadata(request),
        INGREDIENTS_KEY: ingredients_text(
            dict.fromkeys(ingredient_names, "0" * XXH3_128_HEX_LENGTH)
        ),
        DATA_SHA256_KEY: SHA256_PLACEHOLDER,
        TENSOR_DIGESTS_KEY: "0" * (XXH3_128_HEX_LENGTH * len(entries)),
        TENSOR_SET_KEY: "0" * XXH3_128_HEX_LENGTH,
    }
    header_nbytes = len(encode_header(metadata, entries))
    return OutputPlan(request.variant, request.name, metadata, entries, header_nbytes)


def _scaled_metadata(request: OutputRequest) -> dict[str, str]:
    """Return what a header says of scaled weights; programs want it or the markers."""
    if not request.scaled:
        return {}
    layers = {
        request.name_of(name).removesuffix(".weight"): request.dtypes[name]
        for name in request.scaled
    }
    return {METADATA_KEY: quantization_metadata(layers)}


def _targets(
    number: int, output: OutputPlan, request: OutputRequest
) -> dict[str, Target]:
    """Return tensor of the pass -> its place in one output."""
    offsets = {
        entry.name: output.header_nbytes + entry.begin for entry in output.entries
    }

    def companions(name: str) -> Companions | None:
        if name not in request.scaled:
            return None
        scale, marker = scale_names(request.name_of(name))
        text = comfy_quant_bytes(request.dtypes[name])
        return Companions(scale, offsets[scale], marker, offsets[marker], text)

    return {
        name: Target(
            output=number,
            name=request.name_of(name),
            dtype=dtype,
            offset=offsets[request.name_of(name)],
            clamps=request.clamps or dtype.is_fp8,
            companions=companions(name),
        )
        for name, dtype in request.dtypes.items()
    }


def _operand(
    ingredients: Sequence[Ingredient], number: int, name: str, coefficient: float
) -> Operand:
    layout = ingredients[number].layout
    entry = ingredients[number].checkpoint.tensors[name]
    if layout is None:
        return Operand(number, entry, coefficient)
    if name in layout.stored_as:
        entry = replace(entry, dtype=layout.stored_as[name])
    return Operand(number, entry, coefficient, layout.scales.get(name))


def _job_order(
    outputs: Sequence[OutputPlan],
    places: Sequence[Mapping[str, Target]],
    sources: Mapping[str, TensorSource],
) -> list[str]:
    """Return tensor names in the order that fills every output nearly from its start.

    The SHA-256 of a data section follows the pass from the front, so the order is that
    of the output with the most dtypes: the others differ from it only by small tensors.
    Shards follow one another; what is only read comes last.
    """
    n_dtypes = [len({entry.dtype for entry in output.entries}) for output in outputs]
    leading = sorted(range(len(outputs)), key=lambda number: -n_dtypes[number])
    written = [
        name
        for number in leading
        for name, _ in sorted(places[number].items(), key=lambda item: item[1].offset)
    ]
    return list(dict.fromkeys([*written, *sources]))
