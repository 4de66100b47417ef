"""A whole card full of hostile text keeps the structure of a harmless one."""

import json
from collections import Counter
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from release.card.presentation import Presentation
from release.card.render import render_card
from release.definition import Definition
from release.errors import visible
from release.manifest import Manifest

PAYLOADS = [
    "x | y | z",
    "` | `",
    "``` </code> ```",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</td></table><h1>owned</h1>",
    "<!-- --> -->",
    "[click](javascript:alert(1))",
    "![p](https://tracker.example/p.png)",
    "https://phish.example",
    "# heading",
    "- item",
    "> quote",
    "---",
    "{{7*7}}",
    "{{ ''.__class__.__mro__ }}",
    "{% include 'x' %}",
    "$$x$$ \\\\(y\\\\)",
    "x\x0b---\x0blicense: mit",
    "x\u2028---\u2028license: mit",
    "right\u202eleft",
    "\x1b[31mred\x07",
    "&lt;b&gt; **b** _i_ ~~s~~",
    "trailing\\",
]
USAGE_TEXTS = (
    "training_resolution",
    "sampler",
    "prompt_format",
    "example_prompt",
    "example_negative_prompt",
    "fp8_note",
)
AUDIT = {"is_whole": True} | dict.fromkeys(
    (
        "n_tensors",
        "n_compared",
        "n_equal_tensors",
        "n_near_tensors",
        "n_values",
        "n_sampled_values",
        "n_compared_values",
        "n_equal_values",
        "n_near_values",
    ),
    1,
)
PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def body_of(card: str) -> str:
    return card.split("\n---\n", 1)[1]


def structure(tokens: list[Token]) -> list[str]:
    return [token.type for token in tokens]


def active(tokens: list[Token]) -> Counter[str]:
    """Everything inline that does something: links, images, HTML, emphasis."""
    leaves = [leaf for token in tokens for leaf in (token.children or [])]
    return Counter(
        f"{leaf.type} {leaf.attrs} {leaf.content if 'html' in leaf.type else ''}"
        for leaf in leaves
        if leaf.type not in {"text", "text_special", "code_inline", "softbreak"}
        and leaf.content not in {"<code>", "</code>"}
    )


def poisoned(gamma: dict[str, Any], document: dict[str, Any], text: str) -> str:
    """Return the card with `text` wherever a maker or a file can put some."""
    gamma["release"] |= {"title": text, "summary": text, "author": text}
    gamma["usage"] |= dict.fromkeys(USAGE_TEXTS, text)
    gamma["usage"]["notes"] = [text]
    row = {"meaning": text, "tag": text, "other": text}
    words = dict.fromkeys(("name", "order", "vocabulary", "other", "note"), text)
    gamma["tag_tables"] = [words | {"rows": [row]}]
    gamma["known_issues"] = [{"issue": text, "workaround": text}]
    gamma["known_bad"] = [{"file": text, "reason": text}]
    gamma["card"] |= {"introduction": [text], "why": [text], "tags": [text]}
    gamma["licence"]["notices"] = [text]
    for source in gamma["ingredients"].values():
        source |= {"title": text, "file": text, "licence": text, "facts": [text]}
        source["licence_reason"] = text
    for record in document["ingredients"]:
        record |= {"title": text, "commit": text, "hub": text}
    for checkpoint in document["checkpoints"]:
        checkpoint["name"] = text
        checkpoint["components"][text] = checkpoint["parity"]
        checkpoint["tensors"] = [checkpoint["tensors"][0] | {"dtype": text}]
    document["files"][0] |= {"name": text, "members": [text, "LICENSE"]}
    document["recipe"] |= {"convention": text, "output": text, "canonical": text}
    document["audit"] = AUDIT | {"sentence": text, "checkpoint": text}
    definition = Definition.model_validate(gamma)
    older = json.loads(json.dumps(gamma))
    older["recipe"]["steps"]["rev2"] = "gamma"
    return render_card(
        definition,
        Manifest.model_validate(document),
        presentation=Presentation(Definition.model_validate(older)),
    )


@pytest.fixture
def harmless(gamma: dict[str, Any], document: dict[str, Any]) -> list[Token]:
    copies = json.loads(json.dumps([gamma, document]))
    return PARSER.parse(body_of(poisoned(*copies, "harmless")))


@pytest.mark.parametrize("payload", PAYLOADS)
def test_payload_changes_no_structure_and_activates_nothing(
    gamma: dict[str, Any],
    document: dict[str, Any],
    harmless: list[Token],
    payload: str,
) -> None:
    tokens = PARSER.parse(body_of(poisoned(gamma, document, payload)))

    assert structure(tokens) == structure(harmless)
    assert active(tokens) == active(harmless)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_payload_is_read_literally_everywhere(
    gamma: dict[str, Any],
    document: dict[str, Any],
    harmless: list[Token],
    payload: str,
) -> None:
    tokens = PARSER.parse(body_of(poisoned(gamma, document, payload)))

    def read(parsed: list[Token]) -> str:
        leaves = [leaf for token in parsed for leaf in (token.children or [token])]
        return "".join(leaf.content for leaf in leaves if leaf.nesting == 0)

    shown = visible(payload)
    in_python = json.dumps(shown, ensure_ascii=False)[1:-1]  # a string literal of it
    text = read(tokens).replace(in_python, shown)
    assert read(harmless).count("harmless") > 30
    assert text.count(shown) == read(harmless).count("harmless")


@pytest.mark.parametrize("payload", PAYLOADS)
def test_payload_stays_a_value_of_the_front_matter(
    gamma: dict[str, Any], document: dict[str, Any], payload: str
) -> None:
    card = poisoned(gamma, document, payload)

    fields = yaml.safe_load(card.removeprefix("---\n").split("\n---\n", 1)[0])
    assert fields["license"] == "other"
    assert fields["widget"][0]["text"] == payload
    assert fields["tags"][-1] == payload


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_control_or_direction_character_is_in_the_card(
    gamma: dict[str, Any], document: dict[str, Any], payload: str
) -> None:
    card = poisoned(gamma, document, payload)

    assert set(card) & set("\x07\x0b\x1b\u2028\u202e") == set()


def test_name_of_two_lines_in_a_manifest_stays_on_one(
    gamma: dict[str, Any], document: dict[str, Any], harmless: list[Token]
) -> None:
    # A definition refuses line breaks; a manifest made elsewhere may hold them.
    document["checkpoints"][0]["name"] = "a\n\n# owned\n| b |"
    document["files"][0]["members"] = ["c\r\n---\n"]

    tokens = PARSER.parse(
        body_of(
            render_card(
                Definition.model_validate(gamma), Manifest.model_validate(document)
            )
        )
    )

    headings = [
        t.content
        for t, u in zip(tokens[1:], tokens, strict=False)
        if u.type == "heading_open"
    ]
    assert "owned" not in headings
    assert r"a\u000a\u000a# owned\u000a| b |" in "".join(
        leaf.content for token in tokens for leaf in (token.children or [])
    )
