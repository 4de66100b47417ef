"""A lineage drawn as SVG: boxes in columns, made of left to right.

All coordinates are whole pixels and follow from the graph alone, so equal lineages give
equal bytes. Widths of texts are estimated, with room to spare, since fonts differ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final

from release.card.lineage import TIMES, Lineage, Link, Node
from release.errors import visible

_TEXT_LENGTH_MAX: Final = 40
_LETTER: Final = 8
"""Estimated width of a letter of the larger size."""
_LETTERS_MIN: Final = 12
"""Of the narrowest box."""
_PADDING: Final = 12
_BOX_HEIGHT: Final = 52
_PORT: Final = 17
"""Between two lines that leave the same box."""
_GAP: Final = 18
"""Between two boxes of a column."""
_LANE: Final = 150
"""Between two columns."""
_MARGIN: Final = 20
_BYPASS_HEIGHT: Final = 22
"""Of the place where a line passes a column."""

_STYLE: Final = (
    "text{font-family:ui-sans-serif,system-ui,'Segoe UI',Arial,sans-serif;fill:#1b1f24}"
    ".n{font-size:13px;font-weight:600}.t{font-size:12px;fill:#59636e}"
    ".s{font-size:12px}.g{fill:#fff}"
    ".b{fill:#f6f8fa;stroke:#8c959f}.r{fill:#ddf4ff;stroke:#0969da}"
    ".l{fill:none;stroke:#8c959f;stroke-width:1.5}.m{stroke:#cf222e}"
)


@dataclass(slots=True)
class _Item:
    """A box, or the place (`node` is None) where a line passes a column."""

    rank: int
    node: Node | None
    height: int
    y: int = 0
    sources: list["_Item"] = field(default_factory=list)

    @property
    def middle(self) -> int:
        return self.y + self.height // 2


@dataclass(frozen=True, slots=True)
class _Line:
    """The way of one link: the items it leaves, passes and reaches."""

    link: Link
    items: tuple[_Item, ...]


def lineage_svg(lineage: Lineage, *, title: str) -> str:
    """Return the picture, ending in a newline.

    Args:
        lineage: What to draw.
        title: For those who do not see it.
    """
    columns, lines = _items(lineage)
    height = _place(columns)
    lefts, rights = _sides(columns)
    width = rights[-1] + _MARGIN
    name = _xml(title)
    size = f'width="{width}" height="{height}"'
    box = f'viewBox="0 0 {width} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {box} role="img">',
        f"<title>{name}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect {size} rx="8" fill="#fff"/>',
        *_drawn_lines(lines, lefts, rights),
    ]
    for column, left, right in zip(columns, lefts, rights, strict=True):
        for item in column:
            if item.node is not None:
                is_result = item.node.name == lineage.output
                parts += _drawn_box(item, item.node, left, right, is_result=is_result)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _items(lineage: Lineage) -> tuple[list[list[_Item]], list[_Line]]:
    """Return the items of each column, and the ways of the links through them."""
    boxes = {
        node.name: _Item(node.rank, node, _height(lineage, node))
        for node in lineage.nodes
    }
    columns: list[list[_Item]] = [[] for _ in range(_n_columns(lineage))]
    for box in boxes.values():
        columns[box.rank].append(box)
    lines: list[_Line] = []
    for link in lineage.links:
        way = [boxes[link.source]]
        for rank in range(way[0].rank + 1, boxes[link.target].rank):
            bypass = _Item(rank, None, _BYPASS_HEIGHT, sources=[way[-1]])
            columns[rank].append(bypass)
            way.append(bypass)
        boxes[link.target].sources.append(way[-1])
        lines.append(_Line(link, (*way, boxes[link.target])))
    return columns, lines


def _n_columns(lineage: Lineage) -> int:
    return 1 + max(node.rank for node in lineage.nodes)


def _height(lineage: Lineage, node: Node) -> int:
    n_out = sum(link.source == node.name for link in lineage.links)
    n_in = sum(link.target == node.name for link in lineage.links)
    return max(_BOX_HEIGHT, _PORT * (n_out + 1), 10 * (n_in + 1))


def _place(columns: Sequence[list[_Item]]) -> int:
    """Give every item its `y`, near what it is made of; return the height of all."""
    for column in columns:
        for item in column:
            middles = [source.middle for source in item.sources]
            item.y = sum(middles) // len(middles) - item.height // 2 if middles else 0
        if column and column[0].sources:
            column.sort(key=lambda item: item.y)
        bottom = _MARGIN
        for item in column:
            item.y = max(item.y, bottom)
            bottom = item.y + item.height + _GAP
    return max(i.y + i.height for column in columns for i in column) + _MARGIN


def _sides(columns: Sequence[Sequence[_Item]]) -> tuple[list[int], list[int]]:
    """Return the left and the right side of each column."""
    lefts: list[int] = []
    rights: list[int] = []
    for column in columns:
        texts = [text for item in column for text in _texts(item.node)]
        inner = _LETTER * max(_LETTERS_MIN, *map(len, texts))
        lefts.append(rights[-1] + _LANE if rights else _MARGIN)
        rights.append(lefts[-1] + inner + 2 * _PADDING)
    return lefts, rights


def _texts(node: Node | None) -> list[str]:
    if node is None:
        return []
    second = " · ".join(text for text in (node.title, node.detail) if text)
    return [visible(text, _TEXT_LENGTH_MAX) for text in (node.name, second)]


def _drawn_lines(
    lines: Sequence[_Line], lefts: Sequence[int], rights: Sequence[int]
) -> list[str]:
    leaving = _ports([(line.items[0], line.items[1]) for line in lines])
    reaching = _ports([(line.items[-1], line.items[-2]) for line in lines])
    parts: list[str] = []
    for at, line in enumerate(lines):
        ys = [leaving[at], *(i.middle for i in line.items[1:-1]), reaching[at]]
        path = f"M{rights[line.items[0].rank]} {ys[0]}"
        for before, item, y0, y in zip(
            line.items, line.items[1:], ys, ys[1:], strict=False
        ):
            x0, x = rights[before.rank], lefts[item.rank]
            half = (x0 + x) // 2
            path += f"C{half} {y0} {half} {y} {x} {y}"
            if item.node is None:
                path += f"H{rights[item.rank]}"
        is_minus = line.link.share.startswith("-")
        parts.append(f'<path class="l{" m" if is_minus else ""}" d="{path}"/>')
    for at, line in enumerate(lines):
        if line.link.share:
            x, y = rights[line.items[0].rank] + 8, leaving[at] + 4
            text = f"{TIMES} {line.link.share}"
            width = (_LETTER - 1) * len(text)
            parts += [
                f'<rect class="g" x="{x}" y="{y - 12}" width="{width}" height="16"/>',
                f'<text class="s" x="{x + 3}" y="{y}">{_xml(text)}</text>',
            ]
    return parts


def _ports(ends: Sequence[tuple[_Item, _Item]]) -> list[int]:
    """Return where each line meets the box at its end, by where its other end lies."""
    by_box: Mapping[int, list[int]] = {id(box): [] for box, _ in ends}
    for at, (box, _) in enumerate(ends):
        by_box[id(box)].append(at)
    found = [0] * len(ends)
    for held in by_box.values():
        held.sort(key=lambda at: ends[at][1].middle)
        for number, at in enumerate(held, 1):
            box = ends[at][0]
            found[at] = box.y + box.height * number // (len(held) + 1)
    return found


def _drawn_box(
    item: _Item, node: Node, left: int, right: int, *, is_result: bool
) -> list[str]:
    name, second = _texts(node)
    x, kind = left + _PADDING, "r" if is_result else "b"
    first_y = item.middle + (-4 if second else 5)
    size = f'width="{right - left}" height="{item.height}"'
    parts = [
        f'<rect class="{kind}" x="{left}" y="{item.y}" {size} rx="6"/>',
        f'<text class="n" x="{x}" y="{first_y}">{_xml(name)}</text>',
    ]
    if second:
        parts.append(
            f'<text class="t" x="{x}" y="{item.middle + 14}">{_xml(second)}</text>'
        )
    return parts


def _xml(text: str) -> str:
    return escape(visible(text))
