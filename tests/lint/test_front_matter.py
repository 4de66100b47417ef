"""The YAML block of strangers: lines, duplicates, and everything that is refused."""

import pytest
import yaml

from release.lint.card import CARD_NBYTES_MAX, parse_card
from release.lint.front_matter import FrontMatterFaultError, read_front_matter

BLOCK = """---
license: other
tags: [a, 'b']
widget:
- text: "x"
  parameters:
    guidance_scale: 5.5
- text: y
empty:
date: 2024-01-28
wrong: 2024-99-99
huge: 99999999999999999999999999
---
body
"""


def read(text):
    return read_front_matter(text.split("\n"))


def refused(text):
    with pytest.raises(FrontMatterFaultError) as caught:
        read(text)
    assert caught.value.reason.isprintable()
    return caught.value


def test_values_are_those_of_a_yaml_reader():
    found = read(BLOCK.replace("wrong: 2024-99-99\n", ""))

    text = BLOCK.replace("wrong: 2024-99-99\n", "").split("---\n")[1]
    assert found.fields == yaml.safe_load(text)
    assert found.end == 12


def test_text_that_only_looks_like_a_date_stays_text():
    assert read(BLOCK).fields["wrong"] == "2024-99-99"


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("license",), 2),
        (("tags", 1), 3),
        (("widget", 0, "parameters", "guidance_scale"), 7),
        (("widget", 1, "text"), 8),
        (("widget", 1, "nothing", "there"), 8),
        (("nothing",), 1),
    ],
)
def test_line_of_a_value_is_its_line_in_the_card(key, line):
    assert read(BLOCK).line_of(*key) == line


def test_card_without_a_block_has_no_fields():
    assert read("# Title\n---\nlicense: mit\n---\n").fields == {}
    assert read("").end == 0


def test_empty_block_is_an_empty_mapping():
    assert read("---\n---\nx").fields == {}


def test_keys_that_are_there_twice_are_found_at_any_depth():
    found = read("---\na: 1\nb:\n- c: 1\n  c: 2\na: 3\n---\n")

    assert found.duplicates == ((("b", 0, "c"), 5), (("a",), 6))


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("---\nlicense: mit\n", 1, "closing"),
        ("---\n- a\n---\n", 1, "mapping"),
        ("---\na: [\n---\n", 2, "not YAML"),
        ("---\na: 1\nb: &x 1\n---\n", 3, "anchor"),
        ("---\na: *x\n---\n", 2, "alias"),
        ("---\na: !!python/object:os.system x\n---\n", 2, "tag"),
        ("---\na: " + "[" * 5000 + "\n---\n", 2, "levels"),
        (
            "---\n" + "".join(f"{' ' * n}a:\n" for n in range(99)) + "---\n",
            0,
            "levels",
        ),
        ("---\na: [" + "1," * 30_000 + "]\n---\n", 2, "values"),
        ("---\n" + "a: bbbbbbbbbbbbbbbbbb\n" * 8000 + "---\n", 1, "bytes"),
        ("---\na: \x00\n---\n", 1, "not YAML"),
        ("---\n\ta: 1\n---\n", 2, "not YAML"),
        ("---\n%YAML 9.9\n---\n", 0, ""),
    ],
)
def test_block_that_cannot_be_trusted_is_refused_with_its_line(text, line, word):
    fault = refused(text)

    assert word in fault.reason
    assert line in {0, fault.line}


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"\xff\xfe\x00", "UTF-8"),
        (b"ok\nok\n\x80\n", "UTF-8"),
        (b"x" * (CARD_NBYTES_MAX + 1), "bytes"),
        (b"\n" * 20_001, "lines"),
        (b"---\na: [\n---\n", "not YAML"),
    ],
)
def test_card_that_cannot_be_read_is_a_fault_not_an_exception(raw, word):
    card = parse_card(raw)

    assert [word in fault.text for fault in card.faults] == [True]
    assert card.fields == {}


def test_windows_line_ends_and_byte_order_mark_are_read():
    card = parse_card(b"\xef\xbb\xbf---\r\nlicense: mit\r\n---\r\n# T\r\n")

    assert card.fields == {"license": "mit"}
    assert card.title
    assert card.title.plain == "# T"


def test_code_is_told_from_prose_and_sections_are_nested():
    card = parse_card(b"# A\n## B\n```\n# no\n| x |\n~~~\n```\n### C\ntext\n## D\n")

    assert [line.number for line in card.lines if line.is_code] == [3, 4, 5, 6, 7]
    assert card.lines[8].section == ("a", "b", "c")
    assert card.lines[9].section == ("a", "d")


def test_table_has_plain_cells_and_lines():
    card = parse_card(b"| File | *Size* |\n|---|---:|\n| `a\\|b` | **1 GB** &amp; |\n")

    (table,) = card.tables
    assert table.head == ("file", "size")
    assert [(line.number, cells) for line, cells in table.rows] == [
        (3, ("a|b", "1 GB &"))
    ]
