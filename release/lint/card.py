"""A model card, taken apart: fields, lines, sections, tables, prompts."""

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from release.lint.front_matter import (
    FrontMatter,
    FrontMatterFaultError,
    read_front_matter,
)

CARD_NBYTES_MAX: Final = 1024 * 1024
CARD_LINES_MAX: Final = 20_000
_CODE_FENCE: Final = re.compile(r"[ ]{0,3}(`{3,}|~{3,})")
_HEADING: Final = re.compile(r"[ ]{0,3}(#{1,6})[ \t]+(.*)")
_TABLE_LINE: Final = re.compile(r"[ ]{0,3}\|.*\|[ \t]*")
_DASHES: Final = re.compile(r"[|:\- \t]+")
_MARKS: Final = re.compile(r"[`*]|</?(?:code|b|strong|em|i)>")
_LINK: Final = re.compile(r"\[([^\]\[]{0,300})\]\(([^()\s]{0,1000})\)")


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a card, or a part of it, cannot be read; `line` counts from 1."""

    line: int
    text: str


@dataclass(frozen=True)
class Line:
    """One line of the body.

    Attributes:
        number: From 1, in the whole file.
        text: As it is written.
        section: Its heading and those above, lower case, outermost first.
        is_code: Whether it is in a fenced block.
    """

    number: int
    text: str
    section: tuple[str, ...]
    is_code: bool

    @cached_property
    def plain(self) -> str:
        """The text as a reader sees it: no code marks, no emphasis, no entities."""
        return plain_text(self.text)


@dataclass(frozen=True, slots=True)
class Table:
    """A table: the cells of its head, and of each row with the row's line."""

    head: tuple[str, ...]
    rows: tuple[tuple[Line, tuple[str, ...]], ...]
    section: tuple[str, ...]

    def columns(self, pattern: re.Pattern[str]) -> list[int]:
        """Return the numbers of the columns whose head matches somewhere."""
        return [at for at, cell in enumerate(self.head) if pattern.search(cell)]


@dataclass(frozen=True, eq=False)
class Card:
    """A whole card; equal to itself alone.

    Attributes:
        text: All of it, as text.
        front: Its front matter; empty where there is none, or it cannot be read.
        faults: What cannot be read.
    """

    text: str
    front: FrontMatter
    faults: tuple[Fault, ...] = ()

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the front matter."""
        return dict(self.front.fields)

    @cached_property
    def all_lines(self) -> list[str]:
        """Every line of the file, without line ends."""
        return self.text.split("\n")

    @cached_property
    def lines(self) -> tuple[Line, ...]:
        """The lines of the body."""
        return tuple(_body_lines(self.all_lines, self.front.end))

    @cached_property
    def prose(self) -> tuple[Line, ...]:
        """The lines of the body that are not code."""
        return tuple(line for line in self.lines if not line.is_code)

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """Every table of the body."""
        return tuple(_tables(self.prose))

    @cached_property
    def title(self) -> Line | None:
        """The first heading; None without one."""
        return next((x for x in self.prose if _HEADING.fullmatch(x.text)), None)

    def texts(self, key: str) -> list[str]:
        """Return the texts of a field that may be one text or a list of them."""
        value = self.front.fields.get(key)
        values = value if isinstance(value, list) else [value]
        return [each for each in values if isinstance(each, str)]


def parse_card(raw: bytes) -> Card:
    """Return a card; what is wrong with it as a whole is among its faults.

    Args:
        raw: The file; over `CARD_NBYTES_MAX` bytes or `CARD_LINES_MAX` lines, it
            is not looked into.
    """
    if len(raw) > CARD_NBYTES_MAX:
        reason = f"is over {CARD_NBYTES_MAX:,} bytes"
        return Card("", FrontMatter(), (Fault(1, reason),))
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        reason = f"is not UTF-8 at byte {error.start:,}"
        return Card("", FrontMatter(), (Fault(line, reason),))
    text = text.replace("\r\n", "\n")
    if text.count("\n") > CARD_LINES_MAX:
        reason = f"is over {CARD_LINES_MAX:,} lines long"
        return Card("", FrontMatter(), (Fault(1, reason),))
    try:
        return Card(text, read_front_matter(text.split("\n")))
    except FrontMatterFaultError as fault:
        return Card(text, FrontMatter(), (Fault(fault.line, fault.reason),))


def plain_text(text: str) -> str:
    """Return a piece of Markdown as a reader sees it; of links, the text."""
    return html.unescape(_MARKS.sub("", _LINK.sub(r"\1", text))).strip()


def links(text: str) -> list[str]:
    """Return the addresses of the links in a piece of Markdown."""
    return [target for _, target in _LINK.findall(text)]


def _body_lines(lines: list[str], begin: int) -> Iterator[Line]:
    headings: dict[int, str] = {}
    fence = ""
    for number, text in enumerate(lines[begin:], begin + 1):
        mark = _CODE_FENCE.match(text)
        was_code = bool(fence)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence) and not text.strip(f"{fence[0]} \t"):
            fence = ""
        heading = None if was_code or fence else _HEADING.fullmatch(text)
        if heading:
            depth = len(heading[1])
            headings = {d: name for d, name in headings.items() if d < depth}
            headings[depth] = plain_text(heading[2]).lower()
        section = tuple(headings.values())
        yield Line(number, text, section, is_code=was_code or bool(fence))


def _tables(lines: Iterable[Line]) -> Iterator[Table]:
    block: list[Line] = []
    for line in [*lines, Line(0, "", (), is_code=False)]:
        if _TABLE_LINE.fullmatch(line.text) and (
            not block or line.number == block[-1].number + 1
        ):
            block.append(line)
            continue
        if len(block) > 1 and _DASHES.fullmatch(block[1].text):
            yield _table(block)
        block = []


def _table(block: list[Line]) -> Table:
    head, _, *rows = block
    return Table(
        tuple(cell.lower() for cell in _cells(head.text)),
        tuple((row, _cells(row.text)) for row in rows),
        head.section,
    )


def _cells(text: str) -> tuple[str, ...]:
    inner = text.strip()[1:-1].replace(r"\|", "&#124;")
    return tuple(plain_text(cell) for cell in inner.split("|"))
