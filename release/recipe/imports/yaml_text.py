"""Foreign YAML, read as plain mappings, lists and texts.

Scalars stay the text they are, so that numbers are exact. Anchors, aliases and tags,
with which small files unfold into large ones, are refused before anything is built.
"""

from typing import Final, TypeAlias

import yaml

from release.errors import RecipeError, visible
from release.recipe.imports.foreign import check_size

YAML_NBYTES_MAX: Final = 128 * 1024
_DEPTH_MAX: Final = 20
_NULL_TAG: Final = "tag:yaml.org,2002:null"
_BOOL_TAG: Final = "tag:yaml.org,2002:bool"
_TRUE: Final = frozenset({"true", "yes", "on", "y"})

Yaml: TypeAlias = "dict[str, Yaml] | list[Yaml] | str | bool | None"

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
    yaml.DocumentStartToken: "a document marker",
}


def read_yaml(text: str) -> dict[str, Yaml]:
    """Return the mapping that a YAML text is.

    Raises:
        RecipeError: Code "import-yaml": not YAML, no mapping, a key twice or not a
            text, an anchor, alias or tag, more than 20 levels. Code
            "import-too-large".
    """
    check_size(text, place="the YAML text", nbytes_max=YAML_NBYTES_MAX)
    try:
        _check_tokens(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _error(line, visible(error.problem or "cannot be read")) from error
    except (yaml.YAMLError, ValueError) as error:
        raise _error(1, visible(error, 100)) from error
    value = _value(node) if node is not None else None
    if not isinstance(value, dict):
        raise _error(1, "expected a mapping at the top")
    return value


def _check_tokens(text: str) -> None:
    depth = 0
    first = True
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        line = token.start_mark.line + 1
        kind = _REFUSED.get(type(token))
        if kind and not (first and isinstance(token, yaml.DocumentStartToken)):
            raise _error(line, f"got {kind}, expected plain values")
        if isinstance(token, _OPENING):
            depth += 1
        if isinstance(token, _CLOSING):
            depth -= 1
        if depth > _DEPTH_MAX:
            raise _error(line, f"is nested more than {_DEPTH_MAX} levels deep")
        first = first and isinstance(token, yaml.StreamStartToken)


def _value(node: yaml.Node) -> Yaml:
    """Return what a node is; `_check_tokens` has bounded its depth."""
    if isinstance(node, yaml.ScalarNode):
        text = str(node.value)
        if node.tag == _NULL_TAG:
            return None
        return text.lower() in _TRUE if node.tag == _BOOL_TAG else text
    if isinstance(node, yaml.SequenceNode):
        return [_value(each) for each in node.value]
    found: dict[str, Yaml] = {}
    for key_node, value_node in node.value:
        key = _value(key_node)
        line = key_node.start_mark.line + 1
        if not isinstance(key, str):
            raise _error(line, "got a key that is no text")
        if key in found:
            raise _error(line, f"got the key {visible(key, 60)} twice")
        found[key] = _value(value_node)
    return found


def _error(line: int, reason: str) -> RecipeError:
    return RecipeError(
        f"YAML, line {line}: {reason}",
        code="import-yaml",
        hint="an import is a mergekit configuration of plain mappings and lists",
    )
