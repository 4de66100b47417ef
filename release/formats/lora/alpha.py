"""What a LoRA is multiplied by: alpha divided by the rank.

Trainers write alpha as a tensor beside the factors. diffusers writes none for alpha =
rank; since 0.34 it may write PEFT's configuration into the metadata instead.

Source:
    huggingface/diffusers 0.42, `loaders/lora_base.py` (`lora_adapter_metadata`) and
    `utils/peft_utils.py`; huggingface/peft, `tuners/lora/config.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from release.errors import CheckpointError, ValueRangeError, visible
from release.formats.checkpoint import Checkpoint
from release.formats.hints import DAMAGED
from release.formats.json_text import Json
from release.formats.layouts.strict_json import parse_object
from release.formats.lora.families import WeightChange
from release.formats.lora.roles import Role
from release.formats.lora.values import read_values

_METADATA_KEY: Final = "lora_adapter_metadata"
_ALPHA_FIELD: Final = "lora_alpha"
_UNREAD_FIELDS: Final = ("alpha_pattern", "use_rslora", "use_dora", "lora_bias")
"""Fields that change what a module is multiplied by or what it means, if set."""


@dataclass(frozen=True, slots=True)
class Scales:
    """The multipliers of the modules of one file.

    Args:
        checkpoint: The file.
        by_prefix: Alpha by the beginning of a module's name, from the metadata.
    """

    checkpoint: Checkpoint
    by_prefix: Mapping[str, float]

    def of(self, change: WeightChange) -> float:
        """Return what the product of the factors is multiplied by.

        Raises:
            ValueRangeError: `not-finite`; `lora-alpha` for 0, which programs read
                differently, or two alphas for one module.
        """
        if not change.rank:
            return 1.0
        entry = change.module.tensors.get(Role.ALPHA)
        declared = [
            alpha
            for prefix, alpha in self.by_prefix.items()
            if change.module.name.startswith(prefix)
        ]
        if entry is None:
            return declared[0] / change.rank if declared else 1.0
        alpha = float(read_values(self.checkpoint, entry)[0])
        if alpha == 0.0 or declared:
            reason = "a second one is in the metadata" if declared else "expected any"
            raise ValueRangeError(
                self.checkpoint.path,
                f"{visible(entry.name)} is {alpha:g}, {reason} other number",
                code="lora-alpha",
                hint=DAMAGED,
            )
        return alpha / change.rank


def read_scales(checkpoint: Checkpoint) -> Scales:
    """Return the multipliers of a file, of which the metadata is read now.

    Raises:
        CheckpointError: `lora-metadata` for a configuration that cannot be read or says
            something that is not known here.
    """
    text = checkpoint.metadata.get(_METADATA_KEY)
    if not text:
        return Scales(checkpoint, {})
    members = parse_object(
        checkpoint.path,
        text.encode("utf-8"),
        what=f"metadata {_METADATA_KEY}",
        code="lora-metadata",
    )
    alphas: dict[str, float] = {}
    for key, value in members.items():
        prefix, _, field = key.rpartition(".")
        if field in _UNREAD_FIELDS and value not in (None, False, "none", {}, []):
            raise _unread(checkpoint, key, value, "not set")
        if field == _ALPHA_FIELD:
            alphas[f"{prefix}." if prefix else ""] = _alpha(checkpoint, key, value)
    return Scales(checkpoint, alphas)


def _alpha(checkpoint: Checkpoint, key: str, value: Json) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and value:
        return float(value)
    raise _unread(checkpoint, key, value, "a number other than 0")


def _unread(
    checkpoint: Checkpoint, key: str, value: Json, expected: str
) -> CheckpointError:
    return CheckpointError(
        checkpoint.path,
        f"metadata {_METADATA_KEY}: {visible(key)} is {visible(value, 60)}, "
        f"expected {expected}",
        code="lora-metadata",
        hint="merge it into a model with diffusers, and use that model",
    )
