"""Where the weights of a diffusers folder are: components, variants, shards.

A pipeline is a folder with one subfolder per component. The weights of a component are
one safetensors file or several, and may be there several times, in variants such as
fp16 whose name is part of the file names.

Source:
    diffusers 0.42, `pipelines/pipeline_loading_utils.py`; transformers 5.24 for the
    names of text encoders.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from release.errors import CheckpointError, InputError, first_names, visible
from release.formats.limits import FOLDER_ENTRIES_MAX
from release.formats.sharded import is_index_name, is_shard_name

COMPONENTS: Final[Mapping[str, str]] = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
    "text_encoder_2": "model",
}
"""The components that are read, each with what the names of its weights begin with."""

_WEIGHTS: Final = re.compile(
    r"(?P<stem>\w+?)((\.(?P<variant>[\w-]+?))?(-\d{5}-of-\d{5})?"
    r"|-\d{5}-of-\d{5}\.(?P<late_variant>[\w-]+))\.safetensors",
    re.ASCII,
)
_INDEX: Final = re.compile(
    r"(?P<stem>\w+)\.safetensors(\.(?P<late_variant>[\w-]+))?"
    r"\.index(\.(?P<variant>[\w-]+))?\.json",
    re.ASCII,
)
_PICKLED_SUFFIXES: Final = (".bin", ".ckpt", ".pt", ".pth")


@dataclass(frozen=True, slots=True)
class ComponentWeights:
    """The weights of one component, in one variant.

    Attributes:
        component: Name of the subfolder.
        variant: Such as "fp16"; "" for files without one.
        entry_point: What has to be opened, relative to the folder: the one file, the
            index, or the first numbered shard.
    """

    component: str
    variant: str
    entry_point: PurePosixPath

    @property
    def is_sharded(self) -> bool:
        """Whether the entry point stands for several files."""
        name = self.entry_point.name
        return is_index_name(name) or is_shard_name(name)


def find_weights(
    folder: Path, variant: str | None
) -> tuple[tuple[ComponentWeights, ...], tuple[str, ...]]:
    """Return the weights of every component, and warnings about the choice.

    Args:
        folder: The pipeline.
        variant: Take these files where a component has them, and those without a
            variant elsewhere. None takes those without a variant, or those of the only
            variant a component has.

    Raises:
        InputError: `not-found` or `not-a-folder`; `pickle` when a component has no
            safetensors file but pickled ones.
        CheckpointError: `variant` when several fit or none does, `ambiguous-weights`
            when one variant is there twice, `no-unet`, `folder-size`.
    """
    offers = {
        component: _offers(folder / component, COMPONENTS[component])
        for component in COMPONENTS
        if (folder / component).is_dir()
    }
    found = {component: offer for component, offer in offers.items() if offer}
    if "unet" not in found:
        raise CheckpointError(
            folder,
            "has no weights in a subfolder unet, expected a pipeline of Stable "
            "Diffusion 1, 2 or XL",
            code="no-unet",
            hint="name the folder that holds model_index.json",
        )
    _check_variant(folder, found, variant)
    chosen = [
        _choose(folder, component, offer, variant) for component, offer in found.items()
    ]
    return tuple(chosen), _warnings(chosen, variant)


def list_folder(folder: Path) -> list[str]:
    """Return the names in `folder`, sorted.

    Raises:
        InputError: `not-found`, `not-a-folder` or `not-readable`.
        CheckpointError: `folder-size` above 10,000 names.
    """
    names: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                names.append(entry.name)
                if len(names) > FOLDER_ENTRIES_MAX:
                    raise _too_large(folder)
    except FileNotFoundError:
        raise _unusable(folder, "not found", "not-found") from None
    except NotADirectoryError:
        raise _unusable(
            folder, "is a file, expected a folder", "not-a-folder"
        ) from None
    except OSError as error:
        reason = f"cannot be listed: {error.strerror}"
        raise _unusable(folder, reason, "not-readable") from error
    except ValueError:
        raise _unusable(folder, "not found", "not-found") from None
    return sorted(names)


def _offers(folder: Path, stem: str) -> dict[str, list[str]]:
    """Return variant -> names of files that each stand for a component's weights.

    The variant "" is the one without a name. Shards that have an index are not listed
    besides it, and of others only the first.
    """
    names = list_folder(folder)
    indexes = _by_variant(names, _INDEX, stem)
    files = _by_variant(names, _WEIGHTS, stem)
    offers: dict[str, list[str]] = {}
    for variant in sorted(indexes.keys() | files.keys()):
        index = indexes.get(variant, [])
        shards = [name for name in files.get(variant, []) if is_shard_name(name)]
        whole = [name for name in files.get(variant, []) if not is_shard_name(name)]
        first_shards = {_without_number(name): name for name in reversed(shards)}
        offers[variant] = [*index, *whole] + (
            [] if index else sorted(first_shards.values())
        )
    if not offers:
        _refuse_pickles(folder, names)
    return offers


def _by_variant(
    names: Sequence[str], pattern: re.Pattern[str], stem: str
) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        match = pattern.fullmatch(name)
        if match is not None and match["stem"] == stem:
            variant = match["variant"] or match["late_variant"] or ""
            found.setdefault(variant, []).append(name)
    return found


def _without_number(shard: str) -> str:
    """Return what the shards of one set have in common."""
    return re.sub(r"-\d{5}-of-", "-of-", shard)


def _check_variant(
    folder: Path,
    found: Mapping[str, Mapping[str, Sequence[str]]],
    variant: str | None,
) -> None:
    if variant is None or any(variant in offer for offer in found.values()):
        return
    known = sorted({name for offer in found.values() for name in offer})
    raise CheckpointError(
        folder,
        f"has no variant {visible(variant)}, expected one of {_listed(known)}",
        code="variant",
        hint="name one of these, or none",
    )


def _choose(
    folder: Path,
    component: str,
    offer: Mapping[str, Sequence[str]],
    variant: str | None,
) -> ComponentWeights:
    wanted = _chosen_variant(folder / component, offer, variant)
    names = offer[wanted]
    if len(names) > 1:
        raise CheckpointError(
            folder / component,
            f"holds {first_names(names)} as the same weights, expected one",
            code="ambiguous-weights",
            hint="move away the files that are left over from an earlier version",
        )
    return ComponentWeights(component, wanted, PurePosixPath(component, names[0]))


def _chosen_variant(
    folder: Path, offer: Mapping[str, Sequence[str]], variant: str | None
) -> str:
    for wanted in (variant, ""):
        if wanted is not None and wanted in offer:
            return wanted
    if variant is None and len(offer) == 1:
        return next(iter(offer))
    expected = "the name of one" if variant is None else visible(variant)
    raise CheckpointError(
        folder,
        f"holds the variants {_listed(sorted(offer))}, expected {expected}",
        code="variant",
        hint="name the variant that should be read, such as fp16",
    )


def _listed(variants: Sequence[str]) -> str:
    return first_names((variant or "(no variant)" for variant in variants), shown=20)


def _warnings(
    chosen: Sequence[ComponentWeights], variant: str | None
) -> tuple[str, ...]:
    wanted = variant or ""
    return tuple(
        f"variant: {weights.component} has no files "
        f"{f'of {visible(variant)}' if variant else 'without a variant'}, "
        f"{visible(weights.entry_point.name)} is read"
        for weights in chosen
        if weights.variant != wanted
    )


def _refuse_pickles(folder: Path, names: Sequence[str]) -> None:
    pickled = [name for name in names if name.endswith(_PICKLED_SUFFIXES)]
    if pickled:
        raise InputError(
            folder,
            f"holds only pickled weights ({first_names(pickled)}), expected "
            f".safetensors files",
            code="pickled-checkpoint",
            hint="download the safetensors files of the model, or load it and call "
            "save_pretrained(..., safe_serialization=True)",
        )


def _too_large(folder: Path) -> CheckpointError:
    return CheckpointError(
        folder,
        f"holds more than {FOLDER_ENTRIES_MAX:,} files and folders",
        code="folder-size",
        hint="name the folder of one pipeline",
    )


def _unusable(folder: Path, reason: str, code: str) -> InputError:
    return InputError(
        folder, reason, code=code, hint="name the folder that holds model_index.json"
    )
