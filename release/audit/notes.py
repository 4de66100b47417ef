"""What an audit cannot show, and whether the ingredients are those that were named."""

from collections.abc import Mapping, Sequence

from release.audit.fit import Columns, Moments, classes_of, solve
from release.audit.places import Places
from release.audit.samples import Sampled
from release.audit.tasks import Layout
from release.formats.checkpoint import Checkpoint, SafetensorsCheckpoint
from release.metadata import TENSOR_SET_KEY


def blind_spots(
    sampled: Sequence[Sampled], places: Places, columns: Columns
) -> list[str]:
    """Say which coefficients no audit of these ingredients can tell, and where.

    Values can be right there without being a proof of the coefficients.
    """
    cells: dict[object, list[Sampled]] = {}
    for each in sampled:
        if each.moments is not None:
            cells.setdefault(each.task.group.cell, []).append(each)
    blind: dict[str, list[str]] = {}
    for members in cells.values():
        names = [each.task.name for each in members]
        for line in _blindness(members, columns):
            blind.setdefault(line, []).extend(names)
    return [f"in {places.text(names)} {line}" for line, names in blind.items()]


def _blindness(members: Sequence[Sampled], columns: Columns) -> list[str]:
    moments = Moments.total(e.moments for e in members if e.moments is not None)
    found = []
    for cls in classes_of(moments, columns):
        if len(cls) > 1:
            names = [columns.names[at] for at in cls]
            found.append(
                f"{', '.join(names[:-1])} and {names[-1]} hold the same values, in the"
                " sample: their coefficients cannot be told apart"
            )
    fit = solve(moments, columns)
    unknown = [name for e in fit.coefficients if e.value is None for name in e.names]
    if unknown:
        found.append(f"the coefficients of {', '.join(unknown)} cannot be determined")
    return found


def _own_digest(checkpoint: Checkpoint) -> str:
    """Return what a header says of its own tensors; "" for LoRAs and other forms."""
    if not isinstance(checkpoint, SafetensorsCheckpoint):
        return ""
    return checkpoint.metadata.get(TENSOR_SET_KEY, "")


def ingredient_notes(
    layout: Layout, claimed: Mapping[str, str] | None, digests: Mapping[str, str]
) -> list[str]:
    """Compare the ingredients with those that the file's header names by digest.

    Args:
        layout: The ingredients.
        claimed: Ingredient name -> tensor set digest; None if the file names none.
        digests: The same of what was read; empty if not all was, and then what the
            ingredients' own headers say stands for it.
    """
    if not claimed:
        return []
    right: list[str] = []
    wrong: list[str] = []
    for each in layout.ingredients:
        found = digests.get(each.name) or _own_digest(each.checkpoint)
        if found and each.name in claimed:
            (right if found == claimed[each.name] else wrong).append(each.name)
    notes = []
    how = "by their tensors' digests" if digests else "by their own headers"
    if right:
        notes.append(
            f"the file's header names these ingredients, {how}: " + ", ".join(right)
        )
    if wrong:
        notes.append(
            f"not the ingredients that the file's header names, {how}: "
            + ", ".join(wrong)
        )
    return notes
