"""The caret below an expression."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release.errors import Excerpt, RecipeError


@pytest.mark.parametrize(
    ("text", "column", "lines"),
    [
        ("a ++ b", 4, ("a ++ b", "   ^")),
        ("", 1, ("", "^")),
        ("a +", 4, ("a +", "   ^")),
        ("a", 99, ("a", " ^")),
        ("\n+", 2, (r"\u000a+", "      ^")),
        ("\u202ea+", 3, (r"\u202ea+", "       ^")),
        ("\u6a21\u578b+", 3, ("\u6a21\u578b+", "    ^")),
        ("e\u0301+", 3, ("e\u0301+", " ^")),
    ],
)
def test_caret_stands_below_the_place(
    text: str, column: int, lines: tuple[str, str]
) -> None:
    assert Excerpt(text, column).lines == lines


def test_long_text_is_cut_on_both_sides() -> None:
    text = "a" * 1000 + "!" + "b" * 1000
    line, caret = Excerpt(text, 1001).lines
    assert line[0] == line[-1] == "…"
    assert line[len(caret) - 1] == "!"
    assert len(line) <= 80


def _columns(text: str) -> int:
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


@given(text=st.text(max_size=300), column=st.integers(1, 310))
def test_lines_are_always_visible_and_fit(text: str, column: int) -> None:
    line, caret = Excerpt(text, column).lines
    assert {unicodedata.category(char)[0] for char in line} <= set("LMNPSZ")
    assert not {"\u2028", "\u2029"} & set(line)
    assert caret.strip() == "^"
    assert _columns(line) <= 78
    assert len(caret) <= _columns(line) + 1


def test_error_named_within_a_file_keeps_all_else() -> None:
    error = RecipeError("x: y", code="c", hint="h", excerpt=Excerpt("a", 1))
    within = error.within("f.toml")
    assert str(within) == "f.toml: x: y"
    assert (within.code, within.hint, within.excerpt) == ("c", "h", Excerpt("a", 1))
