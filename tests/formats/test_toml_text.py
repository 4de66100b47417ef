"""TOML of people and strangers, and what is said about values that are wrong."""

import pytest

from release.errors import RecipeError
from release.formats.toml_text import parse_toml, value_text


def parse(text):
    return parse_toml(text, origin="my.toml", code="some-file", hint="look")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a = ", "is not TOML: "),
        ("a = 1\na = 2", "is not TOML: "),
        ("a = " + "9" * 5000, "holds an integer of more than 64 bits"),
        ("a = " + "9" * 30, "a: got an integer of more than 64 bits"),
        ("a = 9223372036854775808", "a: got an integer of more than 64 bits"),
        ("a = -9223372036854775809", "a: got an integer of more than 64 bits"),
        ('"" = 0x' + "f" * 9000, ": got an integer of more than 64 bits"),
        ("[a]\nb = [1, {c = 0b1" + "0" * 64 + "}]", "a.b[1].c: got an integer"),
        ("a = " + "[" * 5000 + "]" * 5000, "is nested too deeply"),
        ("a = " + "[" * 101 + "]" * 101, "is nested too deeply"),
        (
            "a = " + f"{{{'.'.join('b' * 16)} = " * 8 + "1" + "}" * 8,
            "is nested too deeply",
        ),
    ],
)
def test_what_is_no_document_is_refused_in_words_of_ours(text, reason):
    with pytest.raises(RecipeError) as caught:
        parse(text)

    assert str(caught.value).startswith(f"my.toml: {reason}")
    assert "int_max_str_digits" not in str(caught.value)
    assert (caught.value.code, caught.value.hint) == ("some-file", "look")


def test_every_integer_of_64_bits_is_taken():
    assert parse("a = 9223372036854775807\nb = [-9223372036854775808]") == {
        "a": 2**63 - 1,
        "b": [-(2**63)],
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (5, "5"),
        (2.5, "2.5"),
        ("a\u202e", r"'a\u202e'"),
        ("n" * 70, "'" + "n" * 60 + "… (10 more)'"),
        ([1, 2], "a list of 2"),
        ({"a": 1}, "a table"),
        (2**63, "an integer of more than 64 bits"),
    ],
)
def test_wrong_value_is_told_in_a_few_words(value, text):
    assert value_text(value) == text


def test_number_that_python_does_not_print_is_told_too():
    assert value_text(16**9000) == "an integer of more than 64 bits"
