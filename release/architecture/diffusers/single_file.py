"""From the names of a diffusers folder to those of a single file, and back."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from release.architecture.diffusers.forms import FORMS
from release.architecture.diffusers.row import Change, Row
from release.architecture.diffusers.text import (
    implied_rows,
    modern_text_name,
    text_rows,
)
from release.architecture.diffusers.unet import unet_rows
from release.architecture.diffusers.vae import modern_vae_name, vae_rows
from release.errors import TensorMismatchError, first_names, visible
from release.formats.assembled import Assembly
from release.formats.tensor import TensorEntry

_SDXL_SIGNS: Final = ("text_encoder_2/", "unet/add_embedding.")
_FIRST_PROJECTION: Final = "unet/down_blocks.0.attentions.0.proj_in.weight"
_UNKNOWN: Final = "unknown"
_ARCHITECTURE_OF_RANK: Final = {4: "sd1", 2: "sd2"}
"""SD1 projects into its attentions by 1 x 1 convolutions, SD2 by matrices."""


def single_file_assemblies(
    tensors: Mapping[str, TensorEntry], *, path: Path
) -> tuple[str, dict[str, Assembly]]:
    """Return the architecture of a folder, and the tensors of its single file.

    Positions of OpenCLIP encoders are left out, as they are always 0 to 76. What a
    folder lacks is lacking in the result, too; nothing is made up.

    Args:
        tensors: All tensors of the folder, by `COMPONENT/TENSOR`.
        path: Named in the error.

    Returns:
        The name as `release.architecture.sdxl.detect` gives it, and the tensors in the
        order in which their first part is in `tensors`.

    Raises:
        TensorMismatchError: `unknown-architecture`; `unmapped-tensors` for names that
            the architecture does not have; `two-spellings` for one tensor under an old
            and a new name; `missing-tensors` for a part of a packed tensor.
    """
    architecture = folder_architecture(tensors)
    if architecture == _UNKNOWN:
        raise TensorMismatchError(
            path,
            "is a pipeline of an unknown architecture, expected SDXL, SD1 or SD2",
            code="unknown-architecture",
            hint="keep the folder's layout, or convert its files one by one",
        )
    table = _table(architecture)
    present = _present(tensors, table, path)
    assemblies: dict[str, Assembly] = {}
    for modern in present:
        row = table.by_part[modern]
        if row.single not in assemblies:
            parts = _parts(row, present, path)
            assemblies[row.single] = Assembly(
                parts=parts,
                shape=_shape(row, [tensors[part].shape for part in parts]),
                transposed=row.change is Change.TRANSPOSED,
            )
    return architecture, assemblies


def single_file_name(name: str, architecture: str) -> str:
    """Return what a folder's tensor is called, or is a part of, in a single file.

    Args:
        name: `COMPONENT/TENSOR`.
        architecture: As `single_file_assemblies` gives it.

    Raises:
        ValueError: A name that `single_file_assemblies` refuses.
    """
    table = _table(architecture)
    modern = _modern(name)
    row = table.by_part.get(modern) or table.implied.get(modern)
    if row is None:
        message = f"tensor {visible(name)}: not known in {architecture}"
        raise ValueError(message)
    return row.single


def folder_names(name: str, architecture: str) -> tuple[str, ...]:
    """Return what a single file's tensor is called in a folder, `COMPONENT/TENSOR`.

    Args:
        name: Tensor name in a single file.
        architecture: A key of `FORMS`.

    Returns:
        One name; query, key and value for a packed tensor, to be cut into three equal
        parts along dimension 0; none for what folders do not hold, such as schedules,
        markers and `logit_scale`.
    """
    row = _table(architecture).by_single.get(name)
    return row.parts if row is not None else ()


def prediction_markers(
    architecture: str, *, prediction_type: str, zero_terminal_snr: bool
) -> dict[str, Assembly]:
    """Return the empty tensors by which a single file says what its U-Net predicts.

    A folder says it in its scheduler's configuration. Only SDXL has such markers;
    without them a model of velocities is sampled as one of noise.

    Source:
        ComfyUI, `supported_models.py`; AUTOMATIC1111 PR #16567.
    """
    if architecture != "sdxl" or prediction_type != "v_prediction":
        return {}
    names = ("v_pred", "ztsnr") if zero_terminal_snr else ("v_pred",)
    return {name: Assembly(parts=(), shape=(0,)) for name in names}


@dataclass(frozen=True, slots=True)
class _Table:
    """All rows of an architecture, by either name."""

    by_single: Mapping[str, Row]
    by_part: Mapping[str, Row]
    implied: Mapping[str, Row]


@cache
def _table(architecture: str) -> _Table:
    form = FORMS[architecture]
    rows = list(_rows(architecture))
    implied = [row for text in form.texts for row in implied_rows(text)]
    return _Table(
        by_single={row.single: row for row in rows},
        by_part={part: row for row in rows for part in row.parts},
        implied={part: row for row in implied for part in row.parts},
    )


def _rows(architecture: str) -> Iterator[Row]:
    form = FORMS[architecture]
    yield from unet_rows(form.unet)
    yield from vae_rows()
    for text in form.texts:
        yield from text_rows(text)


def _modern(name: str) -> str:
    """Return `name` as the table spells it."""
    if name.startswith("vae/"):
        return modern_vae_name(name)
    return modern_text_name(name) if name.startswith("text_encoder") else name


def folder_architecture(tensors: Mapping[str, TensorEntry]) -> str:
    """Return "sdxl", "sd1", "sd2" or "unknown" for the tensors of a folder."""
    if any(name.startswith(_SDXL_SIGNS) for name in tensors):
        return "sdxl"
    projection = tensors.get(_FIRST_PROJECTION)
    rank = len(projection.shape) if projection is not None else 0
    return _ARCHITECTURE_OF_RANK.get(rank, _UNKNOWN)


def _present(
    tensors: Mapping[str, TensorEntry], table: _Table, path: Path
) -> dict[str, str]:
    """Return name as the table spells it -> name in the folder."""
    present: dict[str, str] = {}
    unmapped: list[str] = []
    for name in tensors:
        modern = _modern(name)
        if modern in present:
            raise TensorMismatchError(
                path,
                f"holds {visible(present[modern])} and {visible(name)}, expected only "
                f"one of the two spellings",
                code="two-spellings",
                hint="save the component again with diffusers",
            )
        if modern in table.by_part:
            present[modern] = name
        elif modern not in table.implied:
            unmapped.append(name)
    if unmapped:
        raise TensorMismatchError(
            path,
            f"holds {len(unmapped):,} tensors that a single file has no name for: "
            f"{first_names(unmapped)}",
            code="unmapped-tensors",
            hint="keep the folder's layout, or remove what was added to the model",
        )
    return present


def _parts(row: Row, present: Mapping[str, str], path: Path) -> tuple[str, ...]:
    missing = [part for part in row.parts if part not in present]
    if missing:
        raise TensorMismatchError(
            path,
            f"lacks {first_names(missing)}, expected all parts of {row.single}",
            code="missing-tensors",
            hint="download the folder again",
        )
    return tuple(present[part] for part in row.parts)


def _shape(row: Row, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the shape in a single file; parts that do not fit are found later."""
    first = shapes[0]
    if row.change is Change.TRANSPOSED:
        return first[::-1]
    if row.change is Change.CONVOLUTION and len(first) == 2:
        return (*first, 1, 1)
    if len(shapes) > 1:
        return (sum(shape[0] if shape else 0 for shape in shapes), *first[1:])
    return first
