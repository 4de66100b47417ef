"""The modules of a LoRA: its tensors grouped by what they change."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from release.errors import TensorMismatchError, first_names, visible
from release.formats.lora.roles import Role, refused_kind, split_name
from release.formats.tensor import TensorEntry

NOT_THIS_MODEL: Final = (
    "the LoRA was made for another model, or by a program whose names are not known"
)


@dataclass(frozen=True, slots=True)
class Module:
    """Everything a file says of one module of the model.

    Attributes:
        name: As the file has it, without the ends that tell roles.
        tensors: By role; at least one.
    """

    name: str
    tensors: Mapping[Role, TensorEntry]


def is_lora(names: Iterable[str]) -> bool:
    """Return whether a file is a LoRA or LyCORIS, by the names of its tensors.

    One factor is enough: a LoRA with foreign tensors in it is a LoRA that is refused,
    not a model.
    """
    for name in names:
        found = split_name(name)
        if found is not None and found[1] is not Role.ALPHA:
            return True
    return False


def read_modules(path: Path, tensors: Mapping[str, TensorEntry]) -> list[Module]:
    """Return the modules of a LoRA in the order of the file.

    Args:
        path: Named in the error.
        tensors: All tensors of the file.

    Raises:
        TensorMismatchError: `lora-kind` for a kind that is no plain addition,
            `lora-names` for tensors whose names end as nothing known, `lora-duplicate`
            for one role in two spellings, `no-tensors` for an empty file.
    """
    _check_kinds(path, tensors)
    found: dict[str, dict[Role, TensorEntry]] = {}
    unknown: list[str] = []
    for entry in tensors.values():
        split = split_name(entry.name)
        if split is None:
            unknown.append(entry.name)
            continue
        module = found.setdefault(split[0], {})
        if split[1] in module:
            raise _duplicate(path, module[split[1]].name, entry.name)
        module[split[1]] = entry
    if unknown:
        raise unmatched(path, unknown)
    if not found:
        raise TensorMismatchError(
            path,
            "has no tensors, expected those of a LoRA",
            code="no-tensors",
            hint="the file is empty; get it again from its author",
        )
    return [Module(name, roles) for name, roles in found.items()]


def unmatched(path: Path, names: list[str]) -> TensorMismatchError:
    """Return the error for names that mean nothing in the model."""
    return TensorMismatchError(
        path,
        f"holds {len(names):,} names that match no tensor of the model: "
        f"{first_names(names)}",
        code="lora-names",
        hint=NOT_THIS_MODEL,
    )


def _check_kinds(path: Path, tensors: Iterable[str]) -> None:
    for name in tensors:
        kind = refused_kind(name)
        if kind:
            raise TensorMismatchError(
                path,
                f"{visible(name)} belongs to {kind}; expected LoRA, LoCon, LoHa, LoKr"
                f" or full differences",
                code="lora-kind",
                hint="apply it with the program that made it and merge the result",
            )


def _duplicate(path: Path, first: str, second: str) -> TensorMismatchError:
    return TensorMismatchError(
        path,
        f"{visible(first)} and {visible(second)} are the same factor, expected one",
        code="lora-duplicate",
        hint="two programs wrote into the file; get the original from its author",
    )
