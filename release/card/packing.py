"""A context as JSON and back, for a process that shares no memory with ours.

Text that is Markdown already stays so; it is ours, never a maker's.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from release.card.environment import Plain
from release.card.markdown import Markdown

_MARKDOWN: Final = ""
"""The only key of an object that stands for finished Markdown."""


def packed(context: Mapping[str, Plain]) -> str:
    """Return a context as JSON; no key of it is empty."""
    return json.dumps(_plain(context), ensure_ascii=True)


def unpacked(text: str) -> dict[str, Plain]:
    """Return the context that `packed` made `text` of."""
    document: dict[str, Plain] = json.loads(text, object_hook=_value)
    return document


def _plain(value: Plain) -> Any:
    if isinstance(value, Markdown):
        return {_MARKDOWN: str(value)}
    if isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value]


def _value(found: dict[str, Any]) -> Any:
    return Markdown(found[_MARKDOWN]) if found.keys() == {_MARKDOWN} else found
