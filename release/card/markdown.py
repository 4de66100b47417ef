"""Text that others wrote, made safe and literal inside Markdown.

A card is full of foreign text: titles, tags, tensor and file names, prompts. None of it
may start a heading, close a table cell or carry HTML. Every function here takes plain
text and returns `Markdown`, which templates print as it is; whatever is not `Markdown`
is escaped on the way out (see `release.card.environment`).

Source:
    CommonMark 0.31.2, sections 2.4 "Backslash escapes", 2.5 "Entity references", 4.5
    "Fenced code blocks", 6.1 "Code spans"; GitHub Flavored Markdown 0.29, section 4.10
    "Tables".
"""

import re
from collections.abc import Iterable
from typing import Final

from release.errors import visible

MAX_TEXT: Final = 4000
"""Characters of one foreign text that a card shows; the rest is counted."""

# Entities, not backslashes, where renderers act on the source text itself: "$$" and
# "\\(" open formulas on the Hub, "|" splits table rows before anything is unescaped.
_ESCAPES: Final = str.maketrans(
    {
        "\\": "&#92;",
        "$": "&#36;",
        "|": "&#124;",
        "`": "&#96;",
        "<": "&lt;",
        ">": "&gt;",
        "&": "&amp;",
        "*": r"\*",
        "_": r"\_",
        "[": r"\[",
        "]": r"\]",
        "~": r"\~",
        "@": r"\@",
    }
)
# A heading, list item, rule or underline, where a value is the first in its block.
_BLOCK_START: Final = re.compile(r"^(?=([#+=-])\1*(?:\s|$))|^(\d{1,9})(?=[.)](?:\s|$))")
_URL: Final = re.compile(r"\b((?:https?|ftp)://[^\s<>`|$\\]*[^\s<>`|$\\.,;:!?'\")\]])")
_BARE_HOST: Final = re.compile(r"(?i)\bwww\.")
_ACTIVE_IN_CODE: Final = frozenset("`|$\\")
_BACKTICKS: Final = re.compile(r"`+")
_LINK: Final = re.compile(r"https://[A-Za-z0-9.-]+(?:/[A-Za-z0-9._/+%#-]*)?")


class Markdown(str):
    """Finished Markdown; templates print it unchanged."""

    __slots__ = ()


def plain(text: str) -> Markdown:
    """Return `text` so that a reader sees exactly its characters.

    Addresses become code spans: they stay readable and are never links.
    """
    parts = _URL.split(visible(text.strip(), MAX_TEXT))
    shown = "".join(
        code(part) if index % 2 else _escaped(part) for index, part in enumerate(parts)
    )
    return Markdown(_BLOCK_START.sub(_interrupted, shown))


def code(text: str) -> Markdown:
    """Return `text` as inline code, also inside a table cell; empty stays empty."""
    shown = visible(text.strip(), MAX_TEXT)
    if not shown:
        return Markdown("")
    if _ACTIVE_IN_CODE.intersection(shown):
        return Markdown(f"<code>{_escaped(shown)}</code>")
    return Markdown(f"`{shown}`")


def codes(texts: Iterable[str]) -> Markdown:
    """Return each text as inline code, with commas between."""
    return Markdown(", ".join(code(text) for text in texts))


def block(text: str, language: str = "text") -> Markdown:
    """Return `text` as a fenced code block that its content cannot close.

    Args:
        text: One or more lines; control characters become visible escapes.
        language: Info word after the fence, our own.
    """
    lines = [visible(line, MAX_TEXT) for line in text.split("\n")]
    longest = max((len(run) for run in _BACKTICKS.findall(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markdown("\n".join([f"{fence}{language}", *lines, fence]))


def link(target: str, text: str = "") -> Markdown:
    """Return a link to `target`, shown as `text` or as itself.

    Only plain https addresses become links; anything else is shown as inline code.
    """
    if not _LINK.fullmatch(target):
        return code(target)
    return Markdown(f"[{_escaped(visible(text or target))}]({target})")


def _escaped(text: str) -> str:
    """Return one line with every character inert that acts inside a line."""
    return _BARE_HOST.sub(_with_dot_entity, text.translate(_ESCAPES))


def _with_dot_entity(match: re.Match[str]) -> str:
    return match[0][:-1] + "&#46;"


def _interrupted(match: re.Match[str]) -> str:
    """Return the matched digits, if any, and a backslash for what follows them."""
    return f"{match[0]}\\"
