"""The cells of the picture of a comparison: one for each block of each component."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from release.architecture.contents import Part
from release.parity.report import Group, ParityReport, TensorParity, Verdict
from release.recipe.blocks import block_order


@dataclass(frozen=True, slots=True)
class Cell:
    """One block, or several blocks that have no room of their own.

    Attributes:
        label: Name of the block.
        group: Its tensors that both checkpoints have.
        n_absent: Its tensors that one side lacks or has in another shape.
    """

    label: str
    group: Group
    n_absent: int

    @property
    def has_same_values(self) -> bool:
        """Whether no value differs in any of the tensors."""
        same = (Verdict.EQUAL, Verdict.SAME_VALUES)
        return sum(self.group.counts.get(each, 0) for each in same) == (
            self.group.n_tensors
        )


def cells_of(report: ParityReport, *, rows_max: int) -> dict[Part, list[Cell]]:
    """Return the cells of every component, in the order of its blocks.

    Args:
        report: What was found.
        rows_max: Cells of one component, from 2; the blocks beyond share the last.
    """
    blocks: dict[tuple[Part, str], list[TensorParity]] = {}
    for tensor in report.tensors:
        blocks.setdefault((tensor.part, tensor.block), []).append(tensor)
    absent: dict[tuple[Part, str], int] = {}
    for place in _absent_places(report):
        absent[place] = absent.get(place, 0) + 1
    found: dict[Part, list[Cell]] = {}
    for part in Part:
        names = {block for each, block in (*blocks, *absent) if each is part}
        ordered = sorted(names, key=block_order)
        if ordered:
            found[part] = _cells(part, ordered, blocks, absent, rows_max)
    return found


def _absent_places(report: ParityReport) -> list[tuple[Part, str]]:
    return [
        *(place for side in report.missing for place in side.values()),
        *((each.part, each.block) for each in report.other_shapes),
    ]


def _cells(
    part: Part,
    names: Sequence[str],
    blocks: Mapping[tuple[Part, str], list[TensorParity]],
    absent: Mapping[tuple[Part, str], int],
    rows_max: int,
) -> list[Cell]:
    own = names if len(names) <= rows_max else names[: rows_max - 1]
    shared = names[len(own) :]
    groups = [(name, [name]) for name in own]
    if shared:
        groups.append((f"{len(shared):,} more blocks", list(shared)))
    return [
        Cell(
            label=label,
            group=Group.of(
                tensor for name in members for tensor in blocks.get((part, name), ())
            ),
            n_absent=sum(absent.get((part, name), 0) for name in members),
        )
        for label, members in groups
    ]
