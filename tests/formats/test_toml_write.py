"""TOML that is written is the TOML that was meant, whatever the texts hold."""

import math
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release.errors import visible
from release.formats.toml_write import (
    toml_comment,
    toml_document,
    toml_pair,
    toml_value,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
SCALARS = (
    TEXTS
    | st.integers(-(2**63), 2**63 - 1)
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.dates()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(TEXTS, VALUES, max_size=5))
def test_document_reads_back_as_it_was(document):
    assert tomllib.loads(toml_document(document)) == document


@given(st.lists(SCALARS, max_size=8))
def test_list_reads_back_however_long_it_is(values):
    assert tomllib.loads("\n".join(toml_pair("key", values))) == {"key": values}


@given(st.text(max_size=600))
def test_comment_is_one_line_that_holds_nothing_unseen(text):
    comment = toml_comment(text)

    assert comment.startswith("#")
    assert len(comment.splitlines()) == 1
    assert comment == visible(comment, len(comment))
    assert tomllib.loads(f"{comment}\nx = 1") == {"x": 1}


def test_not_a_number_reads_back():
    assert math.isnan(tomllib.loads(f"x = {toml_value(math.nan)}")["x"])


def test_value_that_toml_has_no_word_for_is_refused():
    with pytest.raises(TypeError, match="NoneType"):
        toml_value(None)


def test_long_list_has_one_value_a_line():
    assert toml_pair("facts", ["a" * 50, "b" * 50]) == [
        "facts = [",
        f'    "{"a" * 50}",',
        f'    "{"b" * 50}",',
        "]",
    ]


def test_tables_of_tables_have_no_head_of_their_own():
    assert toml_document({"a": {"b": {"c": 1}}, "d": {}}) == "[a.b]\nc = 1\n\n[d]\n"
