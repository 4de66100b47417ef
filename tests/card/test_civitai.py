"""The fields of Civitai's form."""

import json
from pathlib import Path
from typing import Any

from release.card.permissions import permissions_of
from release.card.presentation import presentation_of
from release.card.sites import Site, render_pages
from release.definition import Definition
from release.manifest import Manifest

HERE = Path(__file__).parent


def form(definition: Definition, manifest: Manifest) -> dict[str, Any]:
    shown = presentation_of(definition, HERE)
    pages = render_pages(definition, manifest, Site.CIVITAI, presentation=shown)
    found: dict[str, Any] = json.loads(pages["civitai.json"])
    return found


def test_form_of_civitai_has_every_field(
    definition: Definition, manifest: Manifest
) -> None:
    found = form(definition, manifest)

    assert found["model"].keys() == {
        "id", "name", "type", "checkpointType", "tags", "nsfw", "sfwOnly", "poi",
        "minor", "allowNoCredit", "allowDerivatives", "allowDifferentLicense",
        "allowCommercialUse", "description",
    }  # fmt: skip
    assert found["version"].keys() == {
        "name", "baseModel", "baseModelType", "steps", "epochs", "clipSkip",
        "trainedWords", "recommendedResources", "vaeId", "usageControl",
        "availability", "images", "description", "settings",
    }  # fmt: skip
    fields = {"name", "type", "format", "size", "fp", "isRequired", "nbytes", "hashes"}
    assert all(file.keys() == fields for file in found["files"])


def test_form_of_civitai_says_what_gamma_rev2_is(
    definition: Definition, manifest: Manifest
) -> None:
    found = form(definition, manifest)
    model, version = found["model"], found["version"]

    assert (model["type"], model["checkpointType"]) == ("Checkpoint", "Merge")
    assert (version["name"], version["baseModel"]) == ("rev2", "SDXL 1.0")
    assert (version["steps"], version["epochs"], version["clipSkip"]) == (11_563, 1, 1)
    assert version["settings"]["cfgScale"] == 5.5
    files = {file["fp"]: file for file in found["files"]}
    assert files["fp16"]["hashes"]["AutoV2"] == "38942904E9"
    assert files["fp8"]["nbytes"] == 4_271_998_123
    assert files[None]["type"] == "Archive"


def test_permissions_follow_from_the_licence(
    definition: Definition, manifest: Manifest
) -> None:
    model = form(definition, manifest)["model"]

    assert model["allowDerivatives"] is True
    assert model["allowDifferentLicense"] is False
    assert model["allowNoCredit"] is True
    assert model["allowCommercialUse"] == ["Image", "RentCivit", "Rent", "Sell"]


def test_licence_that_asks_for_credit_and_forbids_selling_leaves_no_box() -> None:
    allowed = permissions_of("CC BY-NC-ND 4.0")

    assert allowed == permissions_of("a licence nobody knows")
    assert not allowed.commercial
    assert permissions_of("MIT").other_licence


def test_what_only_a_person_knows_is_left_open_and_asked(
    definition: Definition, manifest: Manifest
) -> None:
    found = form(definition, manifest)

    open_fields = {
        f"{part}.{key}"
        for part in ("model", "version")
        for key, value in found[part].items()
        if value is None or value == []
    }
    assert found["decide"].keys() <= open_fields
    assert {"model.poi", "model.minor", "version.images"} <= found["decide"].keys()


def test_scaled_fp8_has_its_own_word(
    definition: Definition, document: dict[str, Any]
) -> None:
    fp8 = document["checkpoints"][0]
    scale = dict(fp8["tensors"][0]) | {
        "name": "model.diffusion_model.time_embed.0.weight_scale",
        "dtype": "F32",
        "shape": [],
        "nbytes": 4,
    }
    fp8["tensors"].append(scale)
    manifest = Manifest.model_validate(document)

    files = form(definition, manifest)["files"]

    assert [file["fp"] for file in files] == ["fp8_scaled", "fp16", None]
