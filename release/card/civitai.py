"""civitai.json: the fields of Civitai's form, with what to enter in each.

Source:
    civitai/civitai, the schemas of model, version and file, and the words of its form.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from release.card.environment import Plain
from release.card.files import is_scaled, main_code
from release.card.permissions import COMMERCIAL_USES, permissions_of
from release.card.usage import draws_explicit, middle_cfg
from release.definition import Definition
from release.licences.known import canonical_licence
from release.manifest import CheckpointRecord, Manifest
from release.numeric.digest import autov2, autov3

FORM_SCHEMA: Final = "krelease.civitai/1"

_FP: Final = {
    "F32": "fp32",
    "F16": "fp16",
    "BF16": "bf16",
    "F8_E4M3": "fp8",
    "F8_E5M2": "fp8",
}
"""The site's word for a dtype; it has one for both kinds of fp8, and none for fp64."""

_MAKER_DECIDES: Final = {
    "model.poi": "whether it depicts a real person",
    "model.minor": "whether it is meant for characters that are minors",
    "version.images": "1 to 20 images made with it",
    "version.usageControl": "whether it may be downloaded, or only be used on the site",
    "version.availability": "public, or early access",
}
"""Fields that only a person can fill in, and what they ask."""


def form_section(definition: Definition) -> dict[str, Plain]:
    """Return what the forms of several sites ask for."""
    return {
        "base_model": definition.civitai.base_model,
        "tags": list(dict.fromkeys(definition.card.tags)),
        "draws_explicit": draws_explicit(definition),
    }


def civitai_form(
    definition: Definition, manifest: Manifest, pages: Mapping[str, str]
) -> str:
    """Return the fields of the form as JSON text, ending in a newline.

    Args:
        definition: What the maker states.
        manifest: What was measured.
        pages: The descriptions of "model" and "version", HTML.
    """
    document = {
        "schema": FORM_SCHEMA,
        "release": definition.release.name,
        "rehearsal": manifest.rehearsal,
        "model": _model(definition, pages["model"]),
        "version": _version(definition, pages["version"]),
        "files": [_checkpoint(each) for each in manifest.checkpoints]
        + _archives(manifest),
        "licence": {
            "name": canonical_licence(definition.licence.name),
            "link": definition.licence.link,
            "warning": "the site shows the licence of the base model; the description"
            " says which one holds",
        },
        "decide": dict(_MAKER_DECIDES),
    }
    return json.dumps(document, indent=1, ensure_ascii=True) + "\n"


def _model(definition: Definition, description: str) -> dict[str, Any]:
    allowed = permissions_of(definition.licence.name)
    is_merge = bool(definition.recipe.steps)
    return {
        "id": definition.civitai.model_id,
        "name": definition.release.title,
        "type": "Checkpoint",
        "checkpointType": "Merge" if is_merge else "Trained",
        "tags": form_section(definition)["tags"],
        "nsfw": definition.card.not_for_all_audiences,
        "sfwOnly": not draws_explicit(definition),
        "poi": None,
        "minor": None,
        "allowNoCredit": allowed.uncredited,
        "allowDerivatives": allowed.merges,
        "allowDifferentLicense": allowed.other_licence,
        "allowCommercialUse": list(COMMERCIAL_USES) if allowed.commercial else [],
        "description": description,
    }


def _version(definition: Definition, description: str) -> dict[str, Any]:
    usage, site = definition.usage, definition.civitai
    return {
        "name": definition.release.tag,
        "baseModel": site.base_model,
        "baseModelType": "Standard",
        "steps": site.steps,
        "epochs": site.epochs,
        "clipSkip": site.clip_skip,
        "trainedWords": list(site.trained_words),
        "recommendedResources": [],
        "vaeId": None,
        "usageControl": None,
        "availability": None,
        "images": [],
        "description": description,
        "settings": {
            "cfgScale": middle_cfg(usage),
            "cfgScaleMin": usage.cfg_min,
            "cfgScaleMax": usage.cfg_max,
            "minPixels": usage.min_pixels,
            "maxPixels": usage.max_pixels,
            "sampler": usage.sampler,
            "prompt": usage.example_prompt,
            "negativePrompt": usage.example_negative_prompt,
        },
    }


def _checkpoint(record: CheckpointRecord) -> dict[str, Any]:
    fp = _FP.get(main_code(record))
    return {
        "name": record.name,
        "type": "Model",
        "format": "SafeTensor",
        "size": "full",
        "fp": "fp8_scaled" if fp == "fp8" and is_scaled(record) else fp,
        "isRequired": True,
        "nbytes": record.nbytes,
        "hashes": {
            "SHA256": record.sha256.upper(),
            "AutoV2": autov2(record.sha256),
            "AutoV3": autov3(record.data_sha256),
        },
    }


def _archives(manifest: Manifest) -> list[dict[str, Any]]:
    return [
        {
            "name": file.name,
            "type": "Archive",
            "format": "Other",
            "size": None,
            "fp": None,
            "isRequired": False,
            "nbytes": file.nbytes,
            "hashes": {"SHA256": file.sha256.upper(), "AutoV2": autov2(file.sha256)},
        }
        for file in manifest.files
        if file.role == "archive"
    ]
