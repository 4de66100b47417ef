"""Cards made to hang or break a linter: findings or nothing, never an exception."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from release.lint.card import parse_card
from release.lint.run import lint
from release.lint.subject import FileFacts, Subject

HEAD = "---\nlicense: other\nlicense_name: faipl-1.0-sd\nlicense_link: LICENSE\n"
N = 200_000
LONG = {
    "digits": "1" * N,
    "grouped digits": "1,111" * (N // 5),
    "backticks": "`" * N,
    "bars": "|" * N,
    "rows": "| a | b |\n|---|---|\n" + "| x.safetensors | 1 GB |\n" * 9_000,
    "names": "a.safetensors " * (N // 15),
    "one name": "a" * N + ".safetensors",
    "dots": "a." * (N // 2) + "safetensors",
    "brackets": "[" * N + "](",
    "links": "[a](b) " * (N // 7),
    "braces": "{{" * (N // 2),
    "spaces": "licensed under" + " " * N,
    "restrictions": "commercial " * (N // 11),
    "not": "not " * (N // 4) + "non-commercial use",
    "headings": "# a\n" * 9_000,
    "fences": "```\n" * 8_999,
    "sizes": "1024x1024 " * (N // 10),
    "hex": "sha256 " + "ab" * (N // 2),
    "words": "v pred " * (N // 7),
    "slashes": "/home/" * (N // 6),
    "html": "<code>" * (N // 6),
    "entities": "&amp;" * (N // 5),
}
FILES = {name: FileFacts(name, 5, "ab" * 32) for name in ("x.safetensors", "README.md")}


def findings(text: str) -> tuple[object, ...]:
    return lint(Subject(parse_card(text.encode()), files=FILES))


@pytest.mark.parametrize("body", LONG.values(), ids=LONG)
def test_long_text_takes_no_time(body):
    begin = time.process_time()

    found = findings(f"{HEAD}---\n# Prompts\n\n{body}\n\n```\n{body}\n```\n")

    assert time.process_time() - begin < 5
    assert all(str(each).isprintable() for each in found)


def test_prompt_of_many_tags_takes_no_time():
    tags = ", ".join(f"tag{n}x" for n in range(10_000))
    table = "| Tag |\n|---|\n" + "".join(f"| tag{n}y |\n" for n in range(2000))
    begin = time.process_time()

    findings(f"{HEAD}widget:\n- text: {tags}\n---\n## Tags\n\n{table}")

    assert time.process_time() - begin < 5


def test_many_unknown_keys_take_no_time():
    keys = "".join(f"licens{n}: 1\n" for n in range(5000))
    begin = time.process_time()

    findings(f"{HEAD}{keys}---\n")

    assert time.process_time() - begin < 5


@pytest.mark.parametrize(
    "fields",
    [
        "license: [a]\n",
        "license: {a: b}\n",
        "license: 42\n",
        "license: other\nlicense_name: [a]\n",
        "license: other\nlicense_name: 1\nlicense_link: 2\n",
        "tags: 5\nbase_model: {a: 1}\ndatasets: [[a]]\nnew_version: [1]\n",
        "tags: [1, [2], {a: b}, null]\n",
        "widget: x\n",
        "widget: [1, null, [a]]\n",
        "widget:\n- text: 5\n  parameters: [1]\n  output: x\n",
        "widget:\n- parameters: {guidance_scale: .nan, width: true, height: -1}\n",
        "widget:\n- output: {url: [1]}\n",
        "pipeline_tag: []\nlibrary_name: {}\nbase_model_relation: [x]\n",
        "1: 2\nnull: 3\n2024-01-28: 4\n[a]: 5\n{a: b}: 6\n",
        "? [a, b]\n: c\n",
        "license: 2024-01-28\n",
    ],
)
def test_fields_of_the_wrong_kind_are_no_exception(fields):
    for finding in findings(f"---\n{fields}---\n# T\n"):
        assert str(finding).isprintable()


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_no_exception(raw):
    for finding in lint(Subject(parse_card(raw), files=FILES)):
        assert str(finding).isprintable()


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300), st.text(max_size=300))
def test_any_text_in_block_and_body_is_no_exception(front, body):
    raw = f"---\n{front}\n---\n{body}".encode(errors="replace")

    for finding in lint(Subject(parse_card(raw), files=FILES)):
        assert str(finding).isprintable()


def test_card_full_of_hidden_characters_gives_few_findings():
    assert len(findings("\u202e\n" * 15_000)) < 50
