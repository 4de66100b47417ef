"""Text that others wrote, made safe and literal inside HTML.

Only elements that Civitai keeps in the notes of a version are written: a, br, code, em,
li, ol, p, pre, strong, ul.
"""

import re
from collections.abc import Iterable
from html import escape
from typing import Final

from release.card.markdown import MAX_TEXT
from release.errors import visible

_LINK: Final = re.compile(r"https://[A-Za-z0-9.-]+(?:/[A-Za-z0-9._/+%#-]*)?")


class Html(str):
    """Finished HTML; templates print it unchanged."""

    __slots__ = ()


def plain(text: str) -> Html:
    """Return `text` so that a reader sees exactly its characters."""
    return Html(escape(visible(text.strip(), MAX_TEXT)))


def code(text: str) -> Html:
    """Return `text` as inline code; empty stays empty."""
    shown = plain(text)
    return Html(f"<code>{shown}</code>" if shown else "")


def codes(texts: Iterable[str]) -> Html:
    """Return each text as inline code, with commas between."""
    return Html(", ".join(code(text) for text in texts))


def block(text: str) -> Html:
    """Return lines of text as a block of code; control characters become visible."""
    lines = [escape(visible(line, MAX_TEXT)) for line in text.split("\n")]
    return Html("<pre><code>{}</code></pre>".format("\n".join(lines)))


def link(target: str, text: str = "") -> Html:
    """Return a link to `target`, shown as `text` or as itself.

    Only plain https addresses become links; anything else is shown as inline code.
    """
    if not _LINK.fullmatch(target):
        return code(target)
    return Html(f'<a href="{target}">{plain(text or target)}</a>')
