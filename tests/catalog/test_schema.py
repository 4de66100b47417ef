"""The JSON Schema of definitions says what the reader does."""

import json
import tomllib
from importlib import resources
from pathlib import Path

import pytest

from release.catalog.extend import EXTENDS_KEY, WITHOUT_KEY
from release.catalog.schema import make_schema
from release.definition import Definition
from release.variants.preset import PRESET_NAMES

CATALOG = Path(str(resources.files("release.catalog")))
SCHEMA = json.loads(make_schema())


def at(path: str) -> object:
    found = SCHEMA
    for part in path.removeprefix("#/").split("/"):
        found = found[part]
    return found


def test_published_schema_is_that_of_the_models():
    published = (CATALOG / "definition.schema.json").read_text(encoding="utf-8")

    assert published == make_schema(), (
        "krelease releases --schema > release/catalog/definition.schema.json"
    )


def test_every_top_level_key_is_known():
    keys = {field.alias or name for name, field in Definition.model_fields.items()}

    assert set(SCHEMA["properties"]) == keys | {EXTENDS_KEY, WITHOUT_KEY}
    assert SCHEMA["additionalProperties"] is False


def test_every_reference_leads_to_a_table():
    def references(value):
        if isinstance(value, dict):
            yield from ([value["$ref"]] if "$ref" in value else [])
            value = list(value.values())
        if isinstance(value, list):
            for each in value:
                yield from references(each)

    assert {type(at(path)) for path in references(SCHEMA)} == {dict}


@pytest.mark.parametrize("name", ["gamma-rev1", "gamma-rev2"])
def test_every_key_of_the_catalog_is_one_of_the_schema(name):
    text = (CATALOG / f"{name}.toml").read_text(encoding="utf-8")

    def unknown(value, schema, path):
        schema = at(schema["$ref"]) if "$ref" in schema else schema
        if isinstance(value, list) and isinstance(schema["items"], dict):
            return [x for each in value for x in unknown(each, schema["items"], path)]
        if not isinstance(value, dict):
            return []
        known = schema.get("properties", {})
        others = next(iter(schema.get("patternProperties", {}).values()), None)
        found = []
        for key, each in value.items():
            inner = known.get(key, others)
            found += [f"{path}.{key}"] if inner is None else []
            found += unknown(each, inner, f"{path}.{key}") if inner else []
        return found

    assert unknown(tomllib.loads(text), SCHEMA, name) == []


def test_whole_definition_needs_its_keys_and_a_part_does_not():
    assert SCHEMA["if"] == {"not": {"required": ["extends"]}}
    assert "usage" in SCHEMA["then"]["required"]
    assert "required" not in SCHEMA
    release = SCHEMA["properties"]["release"]["$ref"]
    strict = SCHEMA["then"]["properties"]["release"]["$ref"]
    assert "required" not in at(release)
    assert "author" in at(strict)["required"]
    assert at(release)["properties"] == at(strict)["properties"]


def test_tables_of_a_list_are_whole_in_a_part_too():
    issues = SCHEMA["properties"]["known_issues"]["items"]["$ref"]

    assert at(issues)["required"] == ["issue", "workaround"]


def test_choices_are_listed():
    identity = at(SCHEMA["then"]["properties"]["release"]["$ref"])
    recipe = at(SCHEMA["then"]["properties"]["recipe"]["$ref"])

    assert identity["properties"]["variants"]["items"]["enum"] == list(PRESET_NAMES)
    assert "supermerger" in recipe["properties"]["convention"]["enum"]


def test_schema_offers_no_null_and_no_reference_with_a_sibling_that_draft_7_drops():
    assert '"null"' not in make_schema()
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
