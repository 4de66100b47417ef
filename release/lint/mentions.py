"""Where a card speaks of files, and what it claims about them in that place."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from release.lint.card import Card, Line, Table, links

_FILE: Final = re.compile(
    r"(?<![\w/.-])([\w(][\w.+()-]{0,200}\.(?:safetensors|ckpt|pth?|gguf|zip))(?![\w/])"
)
_FOREIGN_SECTION: Final = re.compile(
    r"ingredient|not to use|known.?bad|recipe|merge|lineage|changelog|history|"
    r"other (?:models|versions)|related|credits?|thanks|base model|issue"
)
_SHORT_LINK: Final = 400


@dataclass(frozen=True, slots=True)
class Mention:
    """A line, or a row of a table, that speaks of one file.

    Attributes:
        name: The file.
        line: Where.
        cells: Head -> cell of the row; empty for a line.
        text: All of it as a reader sees it, without the file's name.
        is_own: Whether the file is said to belong to this card, not to another one.
    """

    name: str
    line: Line
    cells: dict[str, str]
    text: str
    is_own: bool

    def cell(self, pattern: re.Pattern[str]) -> str:
        """Return the first cell whose head matches; "" without one."""
        return next((c for h, c in self.cells.items() if pattern.search(h)), "")


@lru_cache(maxsize=1)
def mentions(card: Card) -> tuple[Mention, ...]:
    """Return every place of the body that speaks of exactly one file."""
    return tuple(_mentions(card))


def _mentions(card: Card) -> Iterator[Mention]:
    in_tables: set[int] = set()
    for table in card.tables:
        for line, cells in table.rows:
            in_tables.add(line.number)
            yield from _row(table, line, cells)
    for line in card.prose:
        if line.number not in in_tables:
            yield from _one(line, line.plain, {})


def names_in(text: str) -> list[str]:
    """Return the names of weight files and archives in a text, each once."""
    return list(dict.fromkeys(_FILE.findall(text)))


def _row(table: Table, line: Line, cells: tuple[str, ...]) -> Iterator[Mention]:
    named = dict(zip(table.head, cells, strict=False))
    first = names_in(cells[0]) if cells else []
    if len(first) == 1:  # what the row is about; other cells may name members
        yield _mention(first[0], line, " | ".join(cells), named)
    else:
        yield from _one(line, " | ".join(cells), named)


def _one(line: Line, text: str, cells: dict[str, str]) -> Iterator[Mention]:
    found = names_in(text)
    if len(found) == 1:
        yield _mention(found[0], line, text, cells)


def _mention(name: str, line: Line, text: str, cells: dict[str, str]) -> Mention:
    foreign = any(_FOREIGN_SECTION.search(part) for part in line.section)
    elsewhere = any(
        "://" in target and len(target) < _SHORT_LINK for target in links(line.text)
    )
    rest = text.replace(name, " ")
    return Mention(name, line, cells, rest, is_own=not foreign and not elsewhere)
