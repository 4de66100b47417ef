"""The JSON Schema of release definitions, for editors that complete TOML.

It is made from the models that definitions are read with. The wheel has it as a file
beside this module, which `krelease releases --schema` writes anew. What no value alone
shows, such as a name that is not declared, is beyond it; so is what a definition takes
from one that it extends, and therefore a file with `extends` may lack any key.
"""

import json
from collections.abc import Collection
from typing import Any, Final

from release.catalog.extend import EXTENDS_KEY, WITHOUT_KEY
from release.definition import RELEASE_NAME, Definition
from release.recipe.conventions import CONVENTIONS
from release.variants.preset import PRESET_NAMES

SCHEMA_ID: Final = "urn:krelease:definition:1"
_DRAFT: Final = "http://json-schema.org/draft-07/schema#"
"""The newest draft that the editors' TOML extension reads."""
_TABLES: Final = "#/$defs/"
_PART: Final = "Part"
_NEEDED: Final = "required"
_TITLE: Final = "A release definition of krelease"

_EXTENSION: Final[dict[str, Any]] = {
    EXTENDS_KEY: {
        "type": "string",
        "pattern": RELEASE_NAME,
        "description": "A definition beside this file, or of the catalog. What it "
        "states holds wherever this file states nothing else.",
    },
    WITHOUT_KEY: {
        "type": "array",
        "items": {"type": "string"},
        "description": "Keys of the extended definition that do not hold, such as "
        "ingredients.base7.",
    },
}


def make_schema() -> str:
    """Return the schema as JSON text that ends with a line feed."""
    whole = _plain(Definition.model_json_schema(by_alias=True))
    tables: dict[str, Any] = whole.pop("$defs")
    tables["Identity"]["properties"]["variants"]["items"]["enum"] = [*PRESET_NAMES]
    tables["Recipe"]["properties"]["convention"]["enum"] = sorted(CONVENTIONS)
    listed = _in_lists([whole, tables])
    parts = {
        f"{name}{_PART}": {key: value for key, value in table.items() if key != _NEEDED}
        for name, table in tables.items()
        if _NEEDED in table and name not in listed
    }
    properties = whole["properties"]
    schema = {
        "$schema": _DRAFT,
        "$id": SCHEMA_ID,
        "title": _TITLE,
        "description": whole["description"],
        "type": "object",
        "properties": _EXTENSION | _renamed(properties, parts),
        "additionalProperties": False,
        "if": {"not": {_NEEDED: [EXTENDS_KEY]}},
        "then": {_NEEDED: whole[_NEEDED], "properties": properties},
        "$defs": tables | parts,
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:  # JSON is any
    """Return a schema without null, which TOML cannot say, and without bare titles."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    if value.get("anyOf", [])[-1:] == [{"type": "null"}]:
        return _plain(value["anyOf"][0])
    # A "title" that is no text is a key of some table called so.
    return {
        key: _plain(each)
        for key, each in value.items()
        if not (key == "title" and isinstance(each, str))
    }


def _in_lists(value: Any) -> frozenset[str]:  # JSON is any
    """Return the tables that lists hold; a list is replaced, so those are whole."""
    if isinstance(value, list):
        return frozenset().union(*map(_in_lists, value))
    if not isinstance(value, dict):
        return frozenset()
    item = value.get("items", {})
    here = {item["$ref"].removeprefix(_TABLES)} if "$ref" in item else set()
    return frozenset(here).union(*map(_in_lists, value.values()))


def _renamed(value: Any, parts: Collection[str]) -> Any:  # JSON is any
    """Return a schema that refers to the part of a table where there is one."""
    if isinstance(value, list):
        return [_renamed(each, parts) for each in value]
    if isinstance(value, dict):
        return {key: _renamed(each, parts) for key, each in value.items()}
    is_part = (
        isinstance(value, str) and f"{value}{_PART}".removeprefix(_TABLES) in parts
    )
    return f"{value}{_PART}" if is_part else value
