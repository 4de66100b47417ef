"""ComfyUI's scaled fp8: its quantization entries, read and written.

An entry is a small JSON object that names the format of one module's weight. It is the
data of a U8 tensor `X.comfy_quant`, or stands in the header under
`_quantization_metadata`; where both exist, the header wins, as it does in ComfyUI.

Source:
    Comfy-Org/ComfyUI, QUANTIZATION.md, `convert_old_quants` in comfy/utils.py and
    `_load_quantized_module` in comfy/ops.py.
    silveroxides/convert_to_quant for the rowwise and blockwise formats.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from release.errors import CheckpointError, DtypeError, first_names, visible
from release.formats.checkpoint import Checkpoint
from release.formats.hints import FAULTY_WRITER
from release.formats.json_text import Json, object_in
from release.formats.layouts.claims import Claim
from release.formats.layouts.names import COMFY_QUANT, SCALE, Survey, member
from release.formats.layouts.shapes import BLOCK_MIN, Reading
from release.formats.layouts.strict_json import parse_object
from release.numeric.dtype import Dtype

METADATA_KEY: Final = "_quantization_metadata"
"""The header's key for the entries of all modules, as one JSON text."""

TENSORWISE: Final = {
    "float8_e4m3fn": Dtype.F8_E4M3,
    "float8_e5m2": Dtype.F8_E5M2,
}
"""Formats that ComfyUI itself reads, one scale per weight."""

ROWWISE: Final = "float8_e4m3fn_rowwise"
BLOCKWISE: Final = "float8_e4m3fn_blockwise"

_FORMATS: Final = (*TENSORWISE, ROWWISE, BLOCKWISE)
_FORMAT_VERSION: Final = "1.0"
_ENTRY_NBYTES_MAX: Final = 4096
_METADATA_CHARACTERS_MAX: Final = 4 * 2**20
_BLOCK_MAX: Final = 2**16
_READ_KEYS: Final = frozenset(
    {
        "format",
        "full_precision_matrix_mult",
        "group_size",
        "params",
        "orig_dtype",
        "orig_shape",
    }
)


@dataclass(frozen=True, slots=True)
class Entries:
    """The quantization entries of a checkpoint, header and tensors together.

    Attributes:
        formats: Module -> format, every one of them an fp8 format.
        claims: One per module.
        warnings: One line each, beginning with a stable word.
    """

    formats: Mapping[str, str]
    claims: tuple[Claim, ...]
    warnings: tuple[str, ...]


def read_entries(checkpoint: Checkpoint, survey: Survey) -> Entries:
    """Return the quantization entries of `checkpoint`; there may be none.

    Raises:
        CheckpointError: `quantization-entry` for text or tensors that are no entries,
            `quantization-version` for another version of them.
        DtypeError: `quantization-format` for formats that are not fp8.
    """
    header = _header_entries(checkpoint)
    tensors = {
        module: _tensor_entry(checkpoint, member(module, COMFY_QUANT))
        for module in survey.having(COMFY_QUANT)
    }
    entries = {**tensors, **header}
    differing = [
        module
        for module in header
        if header[module] != tensors.get(module, header[module])
    ]
    formats = {
        module: _format(checkpoint.path, module, entry)
        for module, entry in entries.items()
    }
    claims = tuple(
        _claim(checkpoint.path, module, formats[module], entry)
        for module, entry in entries.items()
    )
    return Entries(formats, claims, _warnings(entries, differing))


def comfy_quant_bytes(dtype: Dtype) -> bytes:
    """Return the data of a `comfy_quant` tensor, U8 of as many elements.

    Args:
        dtype: F8_E4M3 or F8_E5M2.
    """
    return json.dumps(_entry_for(dtype)).encode("ascii")


def quantization_metadata(layers: Mapping[str, Dtype]) -> str:
    """Return the header's text for modules of fp8, the same for any order.

    Args:
        layers: Module name as in the file, `X` of `X.weight` with every prefix ->
            F8_E4M3 or F8_E5M2.
    """
    document = {
        "format_version": _FORMAT_VERSION,
        "layers": {name: _entry_for(dtype) for name, dtype in layers.items()},
    }
    return json.dumps(document, sort_keys=True)


def _entry_for(dtype: Dtype) -> dict[str, str | bool]:
    """Return the entry of a storage format: activations are never cast to fp8.

    Without `full_precision_matrix_mult` ComfyUI quantises them with a scale of 1.
    """
    name = next(name for name, known in TENSORWISE.items() if known is dtype)
    return {"format": name, "full_precision_matrix_mult": True}


def _header_entries(checkpoint: Checkpoint) -> dict[str, dict[str, Json]]:
    text = checkpoint.metadata.get(METADATA_KEY)
    if text is None:
        return {}
    path, code = checkpoint.path, "quantization-entry"
    if len(text) > _METADATA_CHARACTERS_MAX:
        raise CheckpointError(
            path,
            f"{METADATA_KEY} is {len(text):,} characters, "
            f"expected at most {_METADATA_CHARACTERS_MAX:,}",
            code=code,
            hint=FAULTY_WRITER,
        )
    members = parse_object(path, text.encode(), what=METADATA_KEY, code=code)
    version = members.get("format_version", _FORMAT_VERSION)
    if version != _FORMAT_VERSION:
        raise CheckpointError(
            path,
            f"{METADATA_KEY} has format_version {visible(version, 40)}, "
            f"expected {_FORMAT_VERSION}",
            code="quantization-version",
            hint="the file may need a newer version of this program",
        )
    layers = object_in(path, members, "layers", what=METADATA_KEY, code=code)
    return {
        module: object_in(path, layers, module, what=METADATA_KEY, code=code)
        for module in layers
    }


def _tensor_entry(checkpoint: Checkpoint, name: str) -> dict[str, Json]:
    entry = checkpoint.tensors[name]
    if (
        entry.dtype is not Dtype.U8
        or len(entry.shape) != 1
        or not 0 < entry.nbytes <= _ENTRY_NBYTES_MAX
    ):
        raise CheckpointError(
            checkpoint.path,
            f"tensor {visible(name)} is {entry.dtype.code} {list(entry.shape)}, "
            f"expected U8 in one dimension of at most {_ENTRY_NBYTES_MAX:,}",
            code="quantization-entry",
            hint=FAULTY_WRITER,
        )
    buffer = bytearray(entry.nbytes)
    checkpoint.read_into(entry, 0, memoryview(buffer))
    return parse_object(
        checkpoint.path,
        bytes(buffer),
        what=f"tensor {name}",
        code="quantization-entry",
    )


def _format(path: Path, module: str, entry: Mapping[str, Json]) -> str:
    name = entry.get("format")
    if isinstance(name, str) and name in _FORMATS:
        return name
    raise DtypeError(
        path,
        f"module {visible(module)} has the format {visible(name, 40)}, expected one of "
        f"{', '.join(_FORMATS)}",
        code="quantization-format",
        hint="only scaled fp8 is read; convert the file that it was made from",
    )


def _claim(path: Path, module: str, name: str, entry: Mapping[str, Json]) -> Claim:
    reading = Reading(vector=name == ROWWISE)
    if name == BLOCKWISE:
        size = _group_size(path, module, entry)
        reading = Reading(
            block=(size, size) if size else None, even_blocks=size is None
        )
    return Claim(
        module,
        member(module, SCALE),
        reading,
        TENSORWISE.get(name, Dtype.F8_E4M3),
    )


def _group_size(path: Path, module: str, entry: Mapping[str, Json]) -> int | None:
    """Return the side of a block, which older writers put under "params"."""
    params = entry.get("params")
    size = entry.get("group_size")
    if size is None and isinstance(params, dict):
        size = params.get("group_size")
    if size is None or (type(size) is int and BLOCK_MIN <= size <= _BLOCK_MAX):
        return size
    raise CheckpointError(
        path,
        f"module {visible(module)} has the group_size {visible(size, 40)}, "
        f"expected an integer from {BLOCK_MIN} to {_BLOCK_MAX:,}",
        code="quantization-entry",
        hint=FAULTY_WRITER,
    )


def _warnings(
    entries: Mapping[str, Mapping[str, Json]], differing: list[str]
) -> tuple[str, ...]:
    found: list[str] = []
    if differing:
        found.append(
            f"quantization-disagreement: header and comfy_quant tensors differ for "
            f"{len(differing):,} modules, the header is followed: "
            f"{first_names(differing)}"
        )
    unknown = sorted({key for entry in entries.values() for key in entry} - _READ_KEYS)
    if unknown:
        found.append(
            f"quantization-keys: entries have keys that fp8 has no use for, and which "
            f"are ignored: {first_names(unknown)}"
        )
    return tuple(found)
