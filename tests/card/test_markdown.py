"""Foreign text in Markdown: seen as it is, and never acting. Oracle: markdown-it."""

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from release.card.markdown import Markdown, block, code, codes, link, plain
from release.errors import visible

PAYLOADS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![pixel](https://tracker.example/x.png)",
    "https://phish.example/login",
    "see www.phish.example.",
    "<https://phish.example>",
    "a | b | c",
    r"a \| b \\| c",
    "`code` ``more``",
    "`` ` ``",
    "**bold** _it_ ~~gone~~ *a*b*",
    "# heading",
    "####### seven",
    "- item",
    "+ item",
    "1. item",
    "123456789) item",
    "> quote",
    "---",
    "***",
    "===",
    "    indented code",
    "```",
    "~~~",
    "{{7*7}} {% raw %} {# x #}",
    "${7*7} $$x^2$$ \\(y\\) \\\\(z\\\\)",
    "&lt;b&gt; &#60; &copy;",
    "[ref]: https://phish.example",
    "[^1]",
    "<!-- hidden -->",
    "x\x0b---\x0blicense: mit",
    "right\u202eleft\u200b",
    "\x1b[31mred",
    "line\u2028break",
    "back\\slash at end\\",
    "emoji 👩‍🎨 日本語",
    "user@mail.example",
    ":-",
]
PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
INERT = {"text", "text_special", "code_inline", "softbreak"}


def leaves(tokens: list[Token]) -> list[Token]:
    return [leaf for token in tokens for leaf in (token.children or [])]


def text_of(tokens: list[Token]) -> str:
    return "".join(leaf.content for leaf in leaves(tokens) if leaf.type in INERT)


def shown(payload: str) -> str:
    return visible(payload.strip(), 4000)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_plain_text_is_one_paragraph_with_exactly_its_characters(payload: str) -> None:
    tokens = PARSER.parse(plain(payload))

    assert [token.type for token in tokens] == [
        "paragraph_open",
        "inline",
        "paragraph_close",
    ]
    assert {leaf.type for leaf in leaves(tokens)} <= INERT
    assert text_of(tokens) == shown(payload)


@pytest.mark.parametrize("render", [plain, code])
@pytest.mark.parametrize("payload", PAYLOADS)
def test_text_in_a_table_stays_in_its_cell(payload: str, render: type) -> None:
    tokens = PARSER.parse(f"| a | b |\n|---|---|\n| {render(payload)} | end |")

    cells = [token for token in tokens if token.type == "inline"]
    assert len(cells) == 4
    assert text_of([cells[2]]) == shown(payload)
    assert text_of([cells[3]]) == "end"


@pytest.mark.parametrize("payload", PAYLOADS)
def test_code_carries_no_markup_but_its_own(payload: str) -> None:
    tokens = PARSER.parse(f"before {code(payload)} after")

    html = {leaf.content for leaf in leaves(tokens) if leaf.type == "html_inline"}
    assert html <= {"<code>", "</code>"}
    assert {leaf.type for leaf in leaves(tokens)} <= INERT | {"html_inline"}
    assert text_of(tokens) == f"before {shown(payload)} after"


@pytest.mark.parametrize("payload", [*PAYLOADS, "a\n```\n# out\n````\nb", "~~~\n```"])
def test_code_block_is_not_closed_by_its_content(payload: str) -> None:
    tokens = PARSER.parse(block(payload))

    assert [(token.type, token.info) for token in tokens] == [("fence", "text")]
    lines = [visible(line, 4000) for line in payload.split("\n")]
    assert tokens[0].content == "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "text",
    [
        "Kohaku-XL gamma rev2, by A. N. Other (2024-01-28)",
        "6.94 GB",
        "-1",
        "+2.9 %",
        "0.675",
        "1girl/1boy, character, series",
        "What's this? Yes!",
    ],
)
def test_ordinary_text_needs_no_escapes(text: str) -> None:
    assert plain(text) == text


def test_address_in_text_is_code_without_the_full_stop() -> None:
    assert plain("See https://a.example/b_c. Then (http://d.example/).") == (
        "See `https://a.example/b_c`. Then (`http://d.example/`)."
    )


def test_long_text_is_cut_and_says_so() -> None:
    assert plain("x" * 5000).endswith("… (1000 more)")


def test_list_of_codes_has_commas() -> None:
    assert codes(["a", "b|c"]) == "`a`, <code>b&#124;c</code>"


def test_empty_code_is_empty() -> None:
    assert code(" ") == ""


def test_https_address_becomes_a_link() -> None:
    assert link("https://a.example/b", "x [y]") == r"[x \[y\]](https://a.example/b)"


@pytest.mark.parametrize(
    "target",
    [
        "javascript:alert(1)",
        "http://a.example",
        "https://a.example/) [b](https://c.example",
        "https://a.example/ b",
        "https://a.example@b.example",
        "https://a.example/<b>",
    ],
)
def test_other_target_is_shown_and_not_linked(target: str) -> None:
    tokens = PARSER.parse(f"x {link(target, 'text')}")

    assert {leaf.type for leaf in leaves(tokens)} <= INERT
    assert text_of(tokens) == f"x {target}"


def test_results_are_printed_as_they_are() -> None:
    made = [plain("a"), code("a"), codes(["a"]), block("a"), link("a")]

    assert {type(text) for text in made} == {Markdown}
