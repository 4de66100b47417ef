"""The YAML block of a foreign card, read safely and with the line of every key.

Anchors, aliases and tags, with which small texts unfold into large ones, are refused;
size and depth are bounded. A key that is there twice is found, not silently lost.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import yaml

from release.errors import visible

FRONT_MATTER_NBYTES_MAX: Final = 128 * 1024
_DEPTH_MAX: Final = 20
_TOKENS_MAX: Final = 40_000
_INTEGER_BITS_MAX: Final = 4096
_FENCE: Final = re.compile(r"---[ \t]*")

Key: TypeAlias = tuple[str | int, ...]
"""Where a value is: ("widget", 0, "text")."""

_OPENING: Final = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_CLOSING: Final = (
    yaml.BlockEndToken,
    yaml.FlowMappingEndToken,
    yaml.FlowSequenceEndToken,
)
_REFUSED: Final = {
    yaml.AnchorToken: "an anchor",
    yaml.AliasToken: "an alias",
    yaml.TagToken: "a tag",
    yaml.DirectiveToken: "a directive",
    yaml.DocumentStartToken: "a second document",
}


class FrontMatterFaultError(Exception):
    """The block cannot be read.

    Args:
        line: Line of the card, from 1.
        reason: One line, safe for a terminal.
    """

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """The fields of a card.

    Attributes:
        fields: Key -> plain value: text, number, boolean, None, date, list or mapping.
        lines: Where each value is -> the line of its key, or of the list's entry.
        duplicates: Keys that are there twice, each with the line of the second.
        end: Line of the closing fence; 0 where there is no block.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    lines: Mapping[Key, int] = field(default_factory=dict)
    duplicates: tuple[tuple[Key, int], ...] = ()
    end: int = 0

    def line_of(self, *key: str | int) -> int:
        """Return the line of a value, or of the nearest one around it; at least 1."""
        while key:
            if key in self.lines:
                return self.lines[key]
            key = key[:-1]
        return 1


def read_front_matter(lines: list[str]) -> FrontMatter:
    """Return the fields at the start of a card; none if it does not begin with `---`.

    Args:
        lines: The whole card, without line ends.

    Raises:
        FrontMatterFaultError: No closing fence, not YAML, not a mapping, too large, too
            deep, an anchor, alias or tag.
    """
    if not lines or not _FENCE.fullmatch(lines[0]):
        return FrontMatter()
    end = next((at for at, line in enumerate(lines[1:], 1) if _is_fence(line)), 0)
    if not end:
        raise FrontMatterFaultError(1, "the front matter has no closing line ---")
    text = "\n".join(lines[1:end])
    if len(text.encode()) > FRONT_MATTER_NBYTES_MAX:
        raise FrontMatterFaultError(
            1, f"the front matter is over {FRONT_MATTER_NBYTES_MAX:,} bytes"
        )
    reader = _Reader()
    try:
        _check_tokens(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        value = reader.value(node, ()) if node is not None else {}
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark.line if error.problem_mark else 0
        reason = visible(error.problem or "cannot be read", 100)
        raise FrontMatterFaultError(at + 2, f"not YAML: {reason}") from error
    except (yaml.YAMLError, RecursionError) as error:
        reason = f"not YAML: {visible(error, 100)}"
        raise FrontMatterFaultError(1, reason) from error
    if not isinstance(value, dict):
        raise FrontMatterFaultError(1, "the front matter is not a mapping of keys")
    return FrontMatter(value, reader.lines, tuple(reader.duplicates), end + 1)


def _is_fence(line: str) -> bool:
    return _FENCE.fullmatch(line) is not None


def _check_tokens(text: str) -> None:
    depth = 0
    for count, token in enumerate(yaml.scan(text, Loader=yaml.SafeLoader)):
        line = token.start_mark.line + 2
        kind = _REFUSED.get(type(token))
        if kind:
            raise FrontMatterFaultError(line, f"{kind} where plain values are expected")
        depth += isinstance(token, _OPENING)
        depth -= isinstance(token, _CLOSING)
        if depth > _DEPTH_MAX:
            reason = f"nested more than {_DEPTH_MAX} levels deep"
            raise FrontMatterFaultError(line, reason)
        if count > _TOKENS_MAX:
            raise FrontMatterFaultError(line, "more values than any card has")


class _Reader:
    """Turns nodes into values, and notes their lines."""

    def __init__(self) -> None:
        self.lines: dict[Key, int] = {}
        self.duplicates: list[tuple[Key, int]] = []
        self._scalars = yaml.SafeLoader("")

    def value(self, node: yaml.Node, key: Key) -> Any:  # YAML is any
        """Return what a node is; `_check_tokens` has bounded its depth."""
        self.lines.setdefault(key, node.start_mark.line + 2)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(each, (*key, at)) for at, each in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, key)
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            name = str(key_node.value) if isinstance(key_node.value, str) else "?"
            inner = (*key, name)
            line = key_node.start_mark.line + 2
            if name in found:
                self.duplicates.append((inner, line))
            self.lines[inner] = line
            found[name] = self.value(value_node, inner)
        return found

    def _scalar(self, node: yaml.Node) -> Any:  # YAML is any
        """Return a scalar's value; its text where it only looks like a date."""
        try:
            value = self._scalars.construct_object(node)
        except (ValueError, OverflowError):
            return str(node.value)
        # Python refuses to print integers of some thousand digits.
        is_huge = isinstance(value, int) and value.bit_length() > _INTEGER_BITS_MAX
        return str(node.value) if is_huge else value
