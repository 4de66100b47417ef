"""The YAML block: its fields, and that no value gets out of it."""

from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from release.card import front_matter
from release.card.render import render_card
from release.definition import Definition
from release.errors import CardError
from release.manifest import Manifest

PROMPT = "1girl, solo, x"


def parsed(card: str) -> Any:
    return yaml.safe_load(card.removeprefix("---\n").split("\n---\n", 1)[0])


def test_front_matter_of_gamma_rev2(gamma: dict[str, Any], manifest: Manifest) -> None:
    gamma["usage"] |= {"example_prompt": PROMPT, "example_negative_prompt": "old"}
    gamma["card"]["tags"] = ["anime", "merge"]

    card = render_card(Definition.model_validate(gamma), manifest)

    assert parsed(card) == {
        "license": "other",
        "license_name": "faipl-1.0-sd",
        "license_link": "LICENSE",
        "language": ["en"],
        "library_name": "diffusion-single-file",
        "pipeline_tag": "text-to-image",
        "base_model": [
            "KBlueLeaf/kohaku-xl-beta7",
            "cagliostrolab/animagine-xl-3.0",
            "Linaqruf/animagine-xl-2.0",
        ],
        "base_model_relation": "merge",
        "datasets": ["KBlueLeaf/danbooru2023-sqlite"],
        "tags": [
            "text-to-image",
            "stable-diffusion-xl",
            "safetensors",
            "merge",
            "anime",
        ],
        "widget": [
            {
                "text": PROMPT,
                "parameters": {"negative_prompt": "old", "guidance_scale": 5.5},
            }
        ],
    }


def test_hub_client_accepts_the_card(
    definition: Definition, manifest: Manifest
) -> None:
    card = ModelCard(render_card(definition, manifest))

    assert card.data.license_name == "faipl-1.0-sd"
    assert card.data.base_model_relation == "merge"
    assert card.data.base_model[2] == "Linaqruf/animagine-xl-2.0"
    assert card.text.lstrip().startswith("# Kohaku-XL gamma rev2\n")


def test_licence_alias_becomes_the_canonical_name(
    gamma: dict[str, Any], manifest: Manifest
) -> None:
    gamma["licence"]["name"] = "fair-ai-public-license-1.0-sd"

    card = render_card(Definition.model_validate(gamma), manifest)

    assert parsed(card)["license_name"] == "faipl-1.0-sd"


def test_release_of_unpublished_ingredients_claims_no_base_model(
    gamma: dict[str, Any], manifest: Manifest
) -> None:
    for source in gamma["ingredients"].values():
        source["hub"] = None
    gamma["card"]["datasets"] = []

    fields = parsed(render_card(Definition.model_validate(gamma), manifest))

    assert not {"base_model", "base_model_relation", "datasets"} & fields.keys()


def test_ingredients_of_one_repository_are_listed_once(
    gamma: dict[str, Any], manifest: Manifest
) -> None:
    gamma["ingredients"]["base8"]["hub"] = gamma["ingredients"]["beta7"]["hub"]

    fields = parsed(render_card(Definition.model_validate(gamma), manifest))

    assert len(fields["base_model"]) == 3


def test_ingredient_that_was_not_read_is_no_base_model(
    definition: Definition, document: dict[str, Any]
) -> None:
    del document["ingredients"][2]

    fields = parsed(render_card(definition, Manifest.model_validate(document)))

    assert fields["base_model"] == [
        "KBlueLeaf/kohaku-xl-beta7",
        "cagliostrolab/animagine-xl-3.0",
    ]


def test_audience_warning_is_a_tag(gamma: dict[str, Any], manifest: Manifest) -> None:
    gamma["card"]["not_for_all_audiences"] = True

    fields = parsed(render_card(Definition.model_validate(gamma), manifest))

    assert fields["tags"][-1] == "not-for-all-audiences"


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(4, 6, "5"), (3.5, 6.5, "5"), (5, 6, "5.5"), (0.1, 0.2, "0.15")],
)
def test_example_uses_the_middle_of_the_cfg_range(
    gamma: dict[str, Any], manifest: Manifest, low: float, high: float, text: str
) -> None:
    gamma["usage"] |= {"cfg_min": low, "cfg_max": high}

    card = render_card(Definition.model_validate(gamma), manifest)

    assert f"    guidance_scale: {text}\n" in card


def test_long_prompt_is_not_folded(gamma: dict[str, Any], manifest: Manifest) -> None:
    gamma["usage"]["example_prompt"] = "very long, " * 150 + "end"

    card = render_card(Definition.model_validate(gamma), manifest)

    assert f"- text: {gamma['usage']['example_prompt']}\n" in card


@pytest.mark.parametrize(
    "value",
    [
        "---",
        "a: b",
        "a #b",
        "- x",
        "{{7*7}}",
        "&anchor *alias",
        "!!python/object:os.system x",
        "'\"",
        "no",
        "1e3",
        "right\u202eleft",
        "line\u2028separator",
        "x\x0b---\x0blicense: mit",
        "日本語, 1girl",
        "👩‍🎨",
    ],
)
def test_value_stays_a_value(
    gamma: dict[str, Any], manifest: Manifest, value: str
) -> None:
    gamma["usage"]["example_prompt"] = value
    gamma["card"]["tags"] = [value]

    card = render_card(Definition.model_validate(gamma), manifest)

    assert parsed(card)["widget"][0]["text"] == value
    assert parsed(card)["tags"][-1] == value
    assert parsed(card)["license"] == "other"


def test_printable_text_stays_readable() -> None:
    assert "日本語" in front_matter.dump({"text": "日本語"})


def test_direction_marks_are_never_raw() -> None:
    assert "\u202e" not in front_matter.dump({"text": "日本語\u202e"})


@pytest.mark.parametrize(
    "card", ["# no block\n", "---\nlicense: mit\n---\n", "---\na: [\n---\n"]
)
def test_block_that_says_something_else_is_refused(card: str) -> None:
    with pytest.raises(CardError) as refused:
        front_matter.check(card, {"license": "other"})

    assert refused.value.code == "front-matter"


def test_card_whose_block_does_not_read_back_is_not_returned(
    definition: Definition, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_matter, "dump", lambda _: "---\nlicense: mit\n---\n")

    with pytest.raises(CardError) as refused:
        render_card(definition, manifest)

    assert refused.value.code == "front-matter"
