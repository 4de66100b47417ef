"""Writing a merge's recipe as webuis read it: `sd_merge_recipe`, `sd_merge_models`.

Source:
    lllyasviel/stable-diffusion-webui-forge dfdcbab, `modules/extras.py`: the map of
    models holds those of all parents, by SHA-256.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from release.errors import visible
from release.formats.json_text import Json, JsonFaultError, parse_json_object
from release.recipe.imports.embedded import MODELS_KEY, RECIPE_KEY
from release.recipe.imports.imported import last_part

TYPE: Final = "krelease"
MODELS_NBYTES_MAX: Final = 64 * 1024
"""Characters of `sd_merge_models`; distant ancestors are left out beyond it."""

_NAME_LENGTH_MAX: Final = 200
_SHA256_LENGTH: Final = 64


@dataclass(frozen=True, slots=True)
class Parent:
    """An ingredient of a merge.

    Attributes:
        name: What the expression calls it.
        title: Its name for people, never a local path.
        sha256: Of its file, 64 hex digits; None if it was not computed.
        metadata: Of its file; foreign.
    """

    name: str
    title: str
    sha256: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def webui_metadata(expression: str, parents: Sequence[Parent]) -> dict[str, str]:
    """Return the two metadata entries in which webuis look for a recipe.

    A parent without a SHA-256 is in the recipe, but not in the map of models, which has
    hashes as keys. The result does not depend on the order of `parents`.

    Args:
        expression: The recipe, as the recipe language says it.
        parents: All ingredients.
    """
    ordered = sorted(parents, key=lambda parent: parent.name)
    models: dict[str, Json] = {}
    ancestors: dict[str, Json] = {}
    for parent in ordered:
        ancestors |= _ancestors(parent.metadata)
        if parent.sha256:
            models[parent.sha256] = _entry(
                parent.title, _object(parent.metadata.get(RECIPE_KEY))
            )
    n_left_out = _add_what_fits(models, ancestors)
    recipe: dict[str, Json] = {
        "type": TYPE,
        "expression": expression,
        "models": {parent.name: parent.sha256 for parent in ordered},
    }
    if n_left_out:
        recipe["ancestors_left_out"] = n_left_out
    return {RECIPE_KEY: _text(recipe), MODELS_KEY: _text(models)}


def _entry(name: str, recipe: Json) -> dict[str, Json]:
    return {
        "name": visible(last_part(name), _NAME_LENGTH_MAX),
        "legacy_hash": None,
        "sd_merge_recipe": recipe,
    }


def _ancestors(metadata: Mapping[str, str]) -> dict[str, Json]:
    """Return the models that a parent's metadata names, in our form."""
    found: dict[str, Json] = {}
    for digest, entry in (_object(metadata.get(MODELS_KEY)) or {}).items():
        key = digest.lower()
        if len(key) != _SHA256_LENGTH or not set(key) <= set("0123456789abcdef"):
            continue
        if isinstance(entry, dict):
            nested = entry.get("sd_merge_recipe")
            recipe = _object(nested) if isinstance(nested, str) else nested
            name = entry.get("name")
            found[key] = _entry(
                name if isinstance(name, str) else "unknown",
                recipe if isinstance(recipe, dict) else None,
            )
    return found


def _add_what_fits(models: dict[str, Json], ancestors: Mapping[str, Json]) -> int:
    """Add ancestors by hash until the limit; return how many there was no room for.

    Where even the parents are too many, their own recipes are left out.
    """
    if len(_text(models)) > MODELS_NBYTES_MAX:
        for entry in models.values():
            if isinstance(entry, dict):
                entry["sd_merge_recipe"] = None
    room = MODELS_NBYTES_MAX - len(_text(models))
    n_left_out = 0
    for digest in sorted(ancestors.keys() - models.keys()):
        size = len(_text({digest: ancestors[digest]}))
        if size > room:
            n_left_out += 1
            continue
        models[digest] = ancestors[digest]
        room -= size
    return n_left_out


def _object(text: str | None) -> dict[str, Json] | None:
    """Return the JSON object in a foreign text, None if it is none we would repeat."""
    if not text or len(text) > 16 * MODELS_NBYTES_MAX:
        return None
    try:
        return parse_json_object(text.encode("utf-8", "surrogatepass"))
    except JsonFaultError:
        return None


def _text(value: Json) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
