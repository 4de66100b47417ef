"""The YAML front matter: what the Hub shows, filters and links by.

Only the YAML dumper writes it, so no value can end the block or add a key; the rendered
card is parsed again and compared before anyone sees it.

Source:
    huggingface/hub-docs, `modelcard.md` and "Model Cards": fields and their meaning.
"""

import re
from collections.abc import Mapping
from typing import Final, TypeAlias

import yaml

from release.card.usage import middle_cfg
from release.definition import Definition, Usage
from release.errors import CardError, visible
from release.licences.known import canonical_licence, find_licence
from release.manifest import Manifest
from release.metadata import LICENCE_NAME

Field: TypeAlias = "str | int | float | list[Field] | dict[str, Field]"

_STANDARD_TAGS: Final = ("text-to-image", "stable-diffusion-xl", "safetensors", "merge")
_AUDIENCE_TAG: Final = "not-for-all-audiences"
_BLOCK: Final = re.compile(r"\A---\n(.*?\n)---\n", re.DOTALL)
_ONE_LINE: Final = 10**6
"""Width for the dumper: no prompt is long enough to be folded."""


def front_matter(definition: Definition, manifest: Manifest) -> dict[str, Field]:
    """Return the fields in the order they are written."""
    fields: dict[str, Field] = {
        **_licence(definition.licence.name),
        "language": list(definition.card.language),
        "library_name": "diffusion-single-file",
        "pipeline_tag": "text-to-image",
    }
    models = _base_models(definition, manifest)
    if models:
        fields["base_model"] = list(models)
        fields["base_model_relation"] = "merge"
    if definition.card.datasets:
        fields["datasets"] = list(definition.card.datasets)
    fields["tags"] = list(_tags(definition))
    fields["widget"] = [_example(definition.usage)]
    return fields


def _licence(name: str) -> dict[str, Field]:
    """Return the fields of a licence: the Hub's id, or a name and the file here."""
    licence = find_licence(name)
    if licence is not None and licence.hub_id:
        return {"license": licence.hub_id}
    return {
        "license": "other",
        "license_name": canonical_licence(name),
        "license_link": LICENCE_NAME,
    }


def dump(fields: Mapping[str, Field]) -> str:
    """Return the block with its two fences, ending in a newline.

    Text stays readable as UTF-8 unless it holds characters that do not print (such as
    direction marks); then all of it is escaped.
    """
    text = _yaml(fields, readable=True)
    if any(visible(line, len(line)) != line for line in text.split("\n")):
        text = _yaml(fields, readable=False)
    return f"---\n{text}---\n"


def check(card: str, fields: Mapping[str, Field]) -> None:
    """Check that a rendered card begins with exactly these fields.

    Raises:
        CardError: The block is missing, is no YAML, or says something else.
    """
    found = _BLOCK.match(card)
    try:
        parsed = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError as cause:
        raise _changed() from cause
    if parsed != fields:
        raise _changed()


def _yaml(fields: Mapping[str, Field], *, readable: bool) -> str:
    return yaml.safe_dump(
        dict(fields), sort_keys=False, allow_unicode=readable, width=_ONE_LINE
    )


def _base_models(definition: Definition, manifest: Manifest) -> list[str]:
    """Return the Hub ids of the ingredients that were used, each once."""
    used = {record.name for record in manifest.ingredients}
    ids = [
        source.hub
        for name, source in definition.ingredients.items()
        if name in used and source.hub
    ]
    return list(dict.fromkeys(ids))


def _tags(definition: Definition) -> list[str]:
    audience = (_AUDIENCE_TAG,) if definition.card.not_for_all_audiences else ()
    return list(dict.fromkeys((*_STANDARD_TAGS, *definition.card.tags, *audience)))


def _example(usage: Usage) -> Field:
    """Return the Hub's example image request, at the middle of the CFG range."""
    parameters: dict[str, Field] = {"guidance_scale": middle_cfg(usage)}
    if usage.example_negative_prompt:
        parameters = {"negative_prompt": usage.example_negative_prompt, **parameters}
    return {"text": usage.example_prompt, "parameters": parameters}


def _changed() -> CardError:
    return CardError(
        "front matter: does not read back as the fields that were written",
        code="front-matter",
        hint="report this; nothing was published",
    )
