"""Which metadata of an input survives a conversion, and what is made true in it.

Everything is kept but what a conversion makes false and what its maker would not want
to publish. Training facts (`ss_*`) and lineage (`sd_merge_recipe`, krelease's own
recipe) stay true of the values, whatever their dtype.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from release.architecture.modelspec import MODELSPEC, modelspec_of
from release.formats.limits import METADATA_NBYTES_MAX
from release.metadata import (
    DATA_SHA256_KEY,
    INGREDIENTS_KEY,
    RELEASE_KEY,
    STAND_IN_KEY,
    STAND_IN_TEXT,
    TENSOR_DIGESTS_KEY,
    TENSOR_SET_KEY,
    VARIANT_KEY,
)
from release.privacy import private_reason

_REWRITTEN: Final = frozenset(
    {DATA_SHA256_KEY, TENSOR_DIGESTS_KEY, TENSOR_SET_KEY, VARIANT_KEY}
)
"""What every output states anew of itself."""

_OUTDATED: Final = frozenset(
    {
        RELEASE_KEY,
        INGREDIENTS_KEY,
        "sshs_model_hash",
        "sshs_legacy_hash",
        "dtype",
        "precision",
        "unet_dtype",
        "vae_dtype",
    }
)
"""Names and hashes of the very file, and how it is stored.

`modelspec.unet_dtype` and `modelspec.vae_dtype` are something else and stay: the dtypes
in which the networks are known to compute well.
"""
_HASH_PREFIX: Final = f"{MODELSPEC}hash_"
_TITLE_KEY: Final = f"{MODELSPEC}title"
_PREDICTION_KEY: Final = f"{MODELSPEC}prediction_type"
_PREDICTION_KEYS: Final = (_PREDICTION_KEY, "predict_key")

CARRIED_NBYTES_MAX: Final = METADATA_NBYTES_MAX // 2
"""Bytes of keys and values carried over; the rest is for the output's own digests."""


class Reason(Enum):
    """Why an entry is not carried over."""

    PRIVATE = "private"
    OUTDATED = "no longer holds"
    TOO_LARGE = "too large"


@dataclass(frozen=True, slots=True)
class Dropped:
    """An entry that is not carried over.

    `key` is foreign text. `detail` says what a private entry gives away, else "".
    """

    key: str
    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Carried:
    """What becomes of a header's metadata.

    Attributes:
        kept: The output's metadata, but for what it states of itself.
        dropped: What is left out, by key.
        filled: Keys that were not there and are now, sorted.
        corrected: Keys whose value was untrue and is replaced, sorted.
    """

    kept: Mapping[str, str]
    dropped: tuple[Dropped, ...]
    filled: tuple[str, ...]
    corrected: tuple[str, ...]


def carry(
    metadata: Mapping[str, str],
    *,
    architecture: str,
    title: str,
    has_v_pred: bool,
    keep_private: bool = False,
    outdated: Collection[str] = (),
) -> Carried:
    """Return the metadata that an output made from an input with `metadata` has.

    Digests, the variant and other facts about the output itself are not in it: whoever
    writes the output adds them.

    Args:
        metadata: Of the input; foreign text.
        architecture: As `release.architecture.sdxl.detect` names it. Where ModelSpec
            knows it, the fields that a model must have are filled.
        title: For `modelspec.title` where there is none, such as the file's stem.
        has_v_pred: Whether the tensors include the marker `v_pred`, which programs obey
            whatever the metadata says.
        keep_private: Carry over what gives something away, too.
        outdated: Further keys that the conversion makes false, such as those that
            describe the input's layout.
    """
    kept: dict[str, str] = {}
    dropped: list[Dropped] = []
    for key, value in sorted(metadata.items()):
        if key in _REWRITTEN or key == STAND_IN_KEY:
            continue
        found = _why_dropped(key, value, keep_private=keep_private, outdated=outdated)
        if found is None:
            kept[key] = value
        else:
            dropped.append(found)
    dropped += _drop_largest(kept)
    if STAND_IN_KEY in metadata:
        kept[STAND_IN_KEY] = STAND_IN_TEXT
    corrected = _correct_prediction(kept) if has_v_pred else ()
    filled = _fill(kept, architecture, title, has_v_pred=has_v_pred)
    return Carried(
        kept=dict(sorted(kept.items())),
        dropped=tuple(sorted(dropped, key=lambda each: each.key)),
        filled=filled,
        corrected=corrected,
    )


def _why_dropped(
    key: str, value: str, *, keep_private: bool, outdated: Collection[str]
) -> Dropped | None:
    if key in _OUTDATED or key in outdated or key.startswith(_HASH_PREFIX):
        return Dropped(key, Reason.OUTDATED)
    detail = "" if keep_private else private_reason(key, value)
    return Dropped(key, Reason.PRIVATE, detail) if detail else None


def _drop_largest(kept: dict[str, str]) -> list[Dropped]:
    """Remove the largest entries until the rest fits; return what was removed."""
    sizes = {
        key: len(key.encode(errors="replace")) + len(value.encode(errors="replace"))
        for key, value in kept.items()
    }
    total = sum(sizes.values())
    dropped = []
    for key in sorted(sizes, key=lambda each: (-sizes[each], each)):
        if total <= CARRIED_NBYTES_MAX:
            break
        del kept[key]
        total -= sizes[key]
        dropped.append(Dropped(key, Reason.TOO_LARGE))
    return dropped


def _correct_prediction(kept: dict[str, str]) -> tuple[str, ...]:
    wrong = [key for key in _PREDICTION_KEYS if kept.get(key, "v") != "v"]
    kept.update(dict.fromkeys(wrong, "v"))
    return tuple(sorted(wrong))


def _fill(
    kept: dict[str, str], architecture: str, title: str, *, has_v_pred: bool
) -> tuple[str, ...]:
    """Add what is missing and known; return the keys.

    Source:
        Stability-AI/ModelSpec: tools fill in what they know; where the user gives no
        title, the original file name may be it.
    """
    facts = {"format": "pt"}
    known = modelspec_of(architecture)
    if known:
        facts |= {**known, _TITLE_KEY: title}
        if has_v_pred:
            facts[_PREDICTION_KEY] = "v"
    missing = {key: value for key, value in facts.items() if key not in kept}
    kept.update(missing)
    return tuple(sorted(missing))
