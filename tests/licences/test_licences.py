"""Licence names, texts and what is said about them."""

import hashlib  # noqa: TID251 - an oracle of its own
from pathlib import Path

import pytest

from release.errors import CardError
from release.licences import known
from release.licences.known import (
    Licence,
    canonical_licence,
    licence_notes,
    licence_of_text,
    licence_remark,
    licence_text,
    licences,
)


def test_text_of_faipl_is_the_published_one_byte_for_byte() -> None:
    text = licence_text("faipl-1.0-sd")

    assert len(text) == 7_244
    assert hashlib.sha256(text).hexdigest() == (
        "e20f2269da02f881b5e20ac7abcd2fd73fd5a15022f1d206dea8d35d76d7a624"
    )


def test_text_is_found_by_an_alias() -> None:
    assert licence_text("Fair AI Public License 1.0-SD") == licence_text("faipl-1.0-sd")


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("faipl-1.0-sd", "faipl-1.0-sd"),
        ("FAIPL-1.0-SD", "faipl-1.0-sd"),
        (" faipl-1.0-sd ", "faipl-1.0-sd"),
        ("fair-ai-public-license-1.0-sd", "faipl-1.0-sd"),
        ("Fair AI  Public License 1.0-SD", "faipl-1.0-sd"),
        ("LicenseRef-scancode-fair-ai-public-1.0-sd", "faipl-1.0-sd"),
        ("FAIPL", "faipl-1.0-sd"),
        ("fair-ai-public-license", "faipl-1.0-sd"),
        ("faipl-1.0", "faipl-1.0"),
        ("fair-ai-public-license-1.0", "faipl-1.0"),
        ("LicenseRef-scancode-fair-ai-public-1.0", "faipl-1.0"),
        ("openrail++", "openrail++"),
        ("CreativeML Open RAIL++-M", "openrail++"),
        ("sdxl-license", "openrail++"),
        ("LicenseRef-scancode-bigscience-open-rail-m2", "openrail++"),
        ("CreativeML-OpenRAIL-M", "creativeml-openrail-m"),
        ("Some Licence 2", "Some Licence 2"),
        ("", ""),
    ],
)
def test_licence_name_becomes_canonical(written: str, canonical: str) -> None:
    assert canonical_licence(written) == canonical


@pytest.mark.parametrize("lookup", [licence_text, licence_notes])
def test_mistyped_licence_is_refused_with_the_nearest_name(lookup: object) -> None:
    with pytest.raises(CardError) as refused:
        lookup("faipl-1.0sd")  # type: ignore[operator]

    assert refused.value.code == "licence-unknown"
    assert "faipl-1.0sd" in str(refused.value)
    assert refused.value.hint.startswith(
        "did you mean faipl-1.0-sd? known: faipl-1.0-sd"
    )
    assert refused.value.hint.endswith('give the text: licence.file = "PATH"')


def test_unlike_licence_is_refused_with_the_list_of_known_ones() -> None:
    with pytest.raises(CardError) as refused:
        licence_text("proprietary\nx")

    assert "\n" not in str(refused.value)
    assert refused.value.hint.startswith("known: faipl-1.0-sd; ")


def test_licence_without_prohibited_uses_is_never_taken_for_the_sd_one() -> None:
    with pytest.raises(CardError):
        licence_text("faipl-1.0")


def test_no_name_reaches_a_file_outside_the_package() -> None:
    with pytest.raises(CardError):
        licence_text("../licences/faipl-1.0-sd")


@pytest.mark.parametrize(
    "fact",
    [
        "not covered by the licence",
        "licence text and the source",
        "every model derived",
        "over a network",
        "without added restrictions",
        "30 days",
    ],
)
def test_notes_on_faipl_say_what_its_reader_must_know(fact: str) -> None:
    notes = licence_notes("faipl-1.0-sd")

    assert sum(fact in note.text for note in notes) == 1


def test_licence_without_notes_shows_its_duties() -> None:
    notes = licence_notes("CreativeML Open RAIL++-M")

    assert {note.topic for note in notes} == {"It asks"}
    assert any("a copy of this licence goes with every copy" in n.text for n in notes)


@pytest.mark.parametrize(
    ("declared", "remark"),
    [
        ("creativeml-openrail-m", "doubtful"),
        ("CreativeML Open RAIL-M", "doubtful"),
        ("fair-ai-public-license", "without a version"),
        ("FAIPL", "without a version"),
    ],
)
def test_doubtful_declaration_is_remarked_on(declared: str, remark: str) -> None:
    assert remark in licence_remark(declared)


@pytest.mark.parametrize("declared", ["faipl-1.0-sd", "openrail++", "", "mit"])
def test_clear_declaration_has_no_remark(declared: str) -> None:
    assert licence_remark(declared) == ""


def test_folder_of_texts_holds_what_the_data_names_and_no_more() -> None:
    folder = Path(known.__file__).parent / "texts"

    named = {licence.text for licence in licences().values() if licence.text}
    assert {path.name for path in folder.iterdir()} == named


@pytest.mark.parametrize("licence", licences().values(), ids=lambda each: each.name)
def test_outputs_of_a_licence_are_known_licences(licence: Licence) -> None:
    assert {*licence.outputs, *licence.doubtful_outputs} <= licences().keys()
    assert not {*licence.outputs} & {*licence.doubtful_outputs}


def test_no_spelling_stands_for_two_licences() -> None:
    every = [
        spelling
        for licence in licences().values()
        for spelling in {
            licence.name,
            *licence.aliases,
            *licence.aliases_without_version,
        }
    ]

    assert len(every) == len(set(every))
    assert [spelling for spelling in every if spelling != spelling.lower()] == []


def test_text_is_recognised_whatever_its_line_ends() -> None:
    text = licence_text("faipl-1.0-sd")

    as_windows = text.replace(b"\n", b"\r\n") + b"  \r\n\r\n"

    assert licence_of_text(text) == "faipl-1.0-sd"
    assert licence_of_text(as_windows) == "faipl-1.0-sd"


def test_text_with_one_other_word_is_not_recognised() -> None:
    text = licence_text("faipl-1.0-sd").replace(b"30 days", b"60 days")

    assert licence_of_text(text) == ""
    assert licence_of_text(b"\xff\xfe") == ""
