"""Where findings are, in few words: groups and blocks instead of hundreds of names."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from release.audit.groups import Group
from release.errors import visible
from release.recipe.cells import Cell
from release.recipe.labels import block_ranges
from release.recipe.weights import WEIGHT_BLOCKS

EVERYWHERE: Final = "everywhere"
ELSEWHERE: Final = "elsewhere"
_NAMED_MAX: Final = 2
_LABELS_MAX: Final = 24


class Places:
    """Knows which tensors each group, cell and block has.

    Args:
        groups: Tensor name -> its group, for all that are audited.
    """

    def __init__(self, groups: Mapping[str, Group]) -> None:
        self._groups = groups
        self._members: dict[Group, set[str]] = {}
        for name, group in groups.items():
            self._members.setdefault(group, set()).add(name)

    def text(self, names: Collection[str], silent: Collection[str] = ()) -> str:
        """Return where some tensors are: whole blocks, cells and groups by their label.

        Of a group that is only partly concerned the number of tensors is given; one or
        two tensors are named.

        Args:
            names: The tensors.
            silent: Others, that would look the same; they complete a group.
        """
        wanted = set(names)
        if len(wanted) > _NAMED_MAX:
            wanted |= self.beside(wanted) & set(silent)
        if wanted >= self._groups.keys():
            return EVERYWHERE
        if len(wanted) == 1 or (len(wanted) <= _NAMED_MAX and not self._whole(wanted)):
            return ", ".join(visible(name) for name in sorted(wanted))
        labels = self.labels(wanted)
        text = block_ranges(labels, WEIGHT_BLOCKS)
        if len(labels) > _LABELS_MAX:
            blocks = dict.fromkeys(label.partition("/")[0] for label in labels)
            text = f"parts of {block_ranges(blocks, WEIGHT_BLOCKS)}"
        rest = self._partly(wanted)
        parts = [
            f"{len(some)} of {len(self._members[group])} in {group.label}"
            for group, some in rest.items()
        ]
        if len(parts) > _NAMED_MAX:
            n_rest = sum(map(len, rest.values()))
            parts = [f"{n_rest:,} tensors of {len(parts)} other groups"]
        return ", ".join([text, *parts] if text else parts)

    def beside(self, names: Collection[str]) -> set[str]:
        """Return the tensors that share a group with some of `names`, without them."""
        wanted = set(names)
        found: set[str] = set()
        for members in self._members.values():
            if members & wanted:
                found |= members - wanted
        return found

    def labels(self, names: Collection[str]) -> list[str]:
        """Return the blocks, cells and groups that are among `names` as a whole."""
        whole = self._whole(set(names))
        found: list[str] = []
        for block, cells in _by_block(self._members).items():
            full = [cell for cell in cells if all(g in whole for g in cells[cell])]
            if len(full) == len(cells):
                found.append(block)
                continue
            found += [cell.label for cell in full]
            found += [
                group.label
                for cell, groups in cells.items()
                if cell not in full
                for group in groups
                if group in whole
            ]
        return found

    def _whole(self, names: set[str]) -> set[Group]:
        return {group for group, members in self._members.items() if members <= names}

    def _partly(self, names: set[str]) -> dict[Group, set[str]]:
        found = {
            group: members & names
            for group, members in self._members.items()
            if not members <= names
        }
        return {group: some for group, some in found.items() if some}


def _by_block(groups: Collection[Group]) -> dict[str, dict[Cell, list[Group]]]:
    found: dict[str, dict[Cell, list[Group]]] = {}
    ordered: Sequence[Group] = sorted(groups, key=lambda group: group.label)
    for group in ordered:
        cells = found.setdefault(group.cell.block, {})
        cells.setdefault(group.cell, []).append(group)
    return found
