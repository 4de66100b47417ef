"""What every block of every variant lost: as a heat map, and in words.

Rows and columns are those of all variants together, so a block that one file lacks is
seen as missing in it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from release.card import figures
from release.card.environment import Plain
from release.card.files import component_order, component_title, in_published_order
from release.definition import Definition
from release.errors import CardError, visible
from release.manifest import CheckpointRecord, Manifest, ParityRecord
from release.pictures.heat_map import ROWS_MAX, Column, Fill, HeatMap, Panel, Tile
from release.recipe.blocks import block_order

BLOCK_ERRORS_NAME: Final = "error-by-block.svg"

_SCALE: Final = "signal-to-noise ratio, in dB"
_LEGEND: Final = (
    (Fill.EQUAL, "exact: nothing was lost"),
    (Fill.ABSENT, "missing: not in this file"),
)
_COLUMN_INCHES: Final = 1.8
_LABEL_LENGTH: Final = 20
_PANELS_MAX: Final = 24
"""More would not fit into a PNG that every program opens."""

_COLUMNS_MAX: Final = 8

_Places = dict[str, list[str]]
"""Component -> its blocks, both in order."""


def block_errors(definition: Definition, manifest: Manifest) -> HeatMap:
    """Return the picture: a panel for each variant, in the order of publication.

    Raises:
        CardError: Code "no-blocks": the manifest is of before blocks were kept. Code
            "picture-too-large": more blocks than a picture has room for.
    """
    checkpoints = _with_blocks(definition, manifest)
    places = _places(checkpoints)
    has_room = (
        len(checkpoints) <= _PANELS_MAX
        and len(places) <= _COLUMNS_MAX
        and all(len(blocks) <= ROWS_MAX for blocks in places.values())
    )
    if not has_room:
        raise CardError(
            f"manifest: a picture has room for {_PANELS_MAX} files of {_COLUMNS_MAX}"
            f" components of {ROWS_MAX} blocks, and there are more",
            code="picture-too-large",
            hint="build it without --pictures",
        )
    release = definition.release
    # Letters that the picture's font lacks would be escapes; a name has none of them.
    title = release.title if release.title.isascii() else release.name
    return HeatMap(
        title=f"{title}: error by block\neach file against the recipe's exact result",
        panels=tuple(_panel(each, places) for each in checkpoints),
        scale=_SCALE,
        legend=_LEGEND,
        column_inches=_COLUMN_INCHES,
        label_length=_LABEL_LENGTH,
    )


def block_errors_section(
    definition: Definition, manifest: Manifest
) -> dict[str, Plain]:
    """Return the picture's name and the same in words, one entry for each variant.

    Raises:
        CardError: Code "no-blocks", as `block_errors`.
    """
    return {
        "file": BLOCK_ERRORS_NAME,
        "rows": [_words(each) for each in _with_blocks(definition, manifest)],
    }


def _with_blocks(
    definition: Definition, manifest: Manifest
) -> tuple[CheckpointRecord, ...]:
    checkpoints = in_published_order(definition, manifest)
    for record in checkpoints:
        if not record.blocks:
            raise CardError(
                f"manifest: no figures of the blocks of {visible(record.name)}",
                code="no-blocks",
                hint="build the release again: an older krelease did not keep them",
            )
    return checkpoints


def _places(checkpoints: Sequence[CheckpointRecord]) -> _Places:
    found: dict[str, set[str]] = {}
    for record in checkpoints:
        for component, blocks in record.blocks.items():
            found.setdefault(component, set()).update(blocks)
    return {
        component: sorted(found[component], key=block_order)
        for component in sorted(found, key=component_order)
    }


def _panel(record: CheckpointRecord, places: _Places) -> Panel:
    columns = tuple(
        Column(
            component_title(component),
            tuple(_tile(record.blocks.get(component, {}), block) for block in blocks),
        )
        for component, blocks in places.items()
    )
    return Panel(f"{record.variant}: {record.name}", columns)


def _tile(blocks: Mapping[str, ParityRecord], block: str) -> Tile:
    parity = blocks.get(block)
    if parity is None:
        return Tile(block, "missing", Fill.ABSENT, is_hatched=True)
    decibels = figures.decibels(parity.snr_db)
    if decibels is None:
        return Tile(block, "exact", Fill.EQUAL)
    return Tile(block, f"{decibels:.1f}", decibels)


def _words(record: CheckpointRecord) -> dict[str, Plain]:
    """Return the least and the greatest ratio of a file, and how many are exact."""
    found = list(_measured(record))
    lossy = sorted(
        (decibels, place) for place, decibels in found if decibels is not None
    )
    return {
        "name": record.name,
        "n_blocks": len(found),
        "n_exact": len(found) - len(lossy),
        "least": _place_words(lossy[0]) if lossy else "",
        "greatest": _place_words(lossy[-1]) if lossy else "",
    }


def _measured(record: CheckpointRecord) -> Iterator[tuple[str, float | None]]:
    for component, blocks in sorted(record.blocks.items()):
        for block, parity in sorted(blocks.items()):
            place = f"{component_title(component)} {block}"
            yield place, figures.decibels(parity.snr_db)


def _place_words(found: tuple[float, str]) -> str:
    decibels, place = found
    return f"{decibels:.1f} dB ({place})"
