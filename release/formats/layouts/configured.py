"""Scaled fp8 of language models: what it means stands in a config.json beside it.

Source:
    neuralmagic/compressed-tensors, format "float-quantized"; deepseek-ai/DeepSeek-V3,
    `weight_dequant`: despite its name, `weight_scale_inv` is multiplied.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from release.errors import CheckpointError, DtypeError, InputError, visible
from release.formats.checkpoint import Checkpoint
from release.formats.hints import FAULTY_WRITER
from release.formats.json_file import read_json_object
from release.formats.json_text import object_in
from release.formats.layouts.claims import Claim
from release.formats.layouts.names import INVERSE_SCALE, SCALE, Survey, member
from release.formats.layouts.shapes import BLOCK_MIN, Block, Reading

_CONFIG_NAME: Final = "config.json"
_CONFIG_NBYTES_MAX: Final = 2**20
_KEY: Final = "quantization_config"
_COMPRESSED: Final = "compressed-tensors"
_METHODS: Final = {
    _COMPRESSED: ("compressed-tensors", SCALE),
    "fp8": ("deepseek", INVERSE_SCALE),
}
_DEFAULT_BLOCK: Final = (128, 128)
_BLOCK_MAX: Final = 2**16


@dataclass(frozen=True, slots=True)
class Configured:
    """What a quantization_config says about a checkpoint.

    Attributes:
        name: The layout of its quant_method, or "" where it does not apply.
        claims: One per fp8 weight that it explains.
    """

    name: str
    claims: tuple[Claim, ...]


def quantization_config_beside(path: Path) -> Mapping[str, object] | None:
    """Return the quantization_config of the config.json beside a checkpoint.

    Args:
        path: The checkpoint: a file, or a folder that holds one.

    Returns:
        The object, or None where there is no config.json or no such key in it.

    Raises:
        CheckpointError: `json-too-large` above 1 MiB, `json` when it is not strict
            JSON, `config-json` when the key is no object.
        InputError: The config.json is no regular file or cannot be read.
    """
    config_path = (path if path.is_dir() else path.parent) / _CONFIG_NAME
    try:
        members = read_json_object(config_path, nbytes_max=_CONFIG_NBYTES_MAX)
    except InputError as error:
        if error.code == "not-found":
            return None
        raise
    if members.get(_KEY) is None:
        return None
    return object_in(config_path, members, _KEY, what=_CONFIG_NAME, code="config-json")


def read_configured(
    checkpoint: Checkpoint, survey: Survey, config: Mapping[str, object] | None
) -> Configured:
    """Return the scales that a quantization_config explains; there may be none.

    A configuration has nothing to say about a checkpoint without fp8 weights. Where it
    applies, every fp8 weight must have a scale.

    Raises:
        DtypeError: `quantization-format` for compressed tensors that are not fp8.
        CheckpointError: `config-json` for a block size that is none.
    """
    method = config.get("quant_method") if config else None
    if config is None or not isinstance(method, str) or method not in _METHODS:
        return Configured("", ())
    if not survey.fp8:
        return Configured("", ())
    stored = config.get("format")
    if method == _COMPRESSED and stored != "float-quantized":
        raise DtypeError(
            checkpoint.path,
            f"{_CONFIG_NAME} says format {visible(stored, 40)}, "
            f"expected float-quantized",
            code="quantization-format",
            hint="only scaled fp8 is read; convert the file that it was made from",
        )
    name, part = _METHODS[method]
    reading = Reading(vector=True, block=_block(checkpoint.path, config))
    modules = dict.fromkeys(survey.having(part)) | dict.fromkeys(survey.fp8_modules())
    return Configured(
        name,
        tuple(Claim(module, member(module, part), reading) for module in modules),
    )


def _block(path: Path, config: Mapping[str, object]) -> Block:
    """Return the block size that a configuration names, or what is usual."""
    named = [config.get("weight_block_size")]
    groups = config.get("config_groups")
    for group in groups.values() if isinstance(groups, dict) else ():
        weights = group.get("weights") if isinstance(group, dict) else None
        if isinstance(weights, dict):
            named.append(weights.get("block_structure"))
    sizes = {_size(path, value) for value in named if value is not None}
    if len(sizes) > 1:
        raise _bad_block(path, f"names {len(sizes)} block sizes, expected one")
    return sizes.pop() if sizes else _DEFAULT_BLOCK


def _size(path: Path, value: object) -> Block:
    match value:
        case [int(rows), int(columns)] if all(
            BLOCK_MIN <= side <= _BLOCK_MAX for side in (rows, columns)
        ):
            return rows, columns
        case _:
            raise _bad_block(
                path,
                f"has the block size {visible(value, 40)}, expected two integers from "
                f"{BLOCK_MIN} to {_BLOCK_MAX:,}",
            )


def _bad_block(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        path, f"{_CONFIG_NAME} {reason}", code="config-json", hint=FAULTY_WRITER
    )
