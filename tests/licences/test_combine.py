"""Which licences a model may have, from those of its parts."""

import pytest

from release.licences.combine import Combination, Part, combine

RAIL = {"faipl-1.0-sd", "openrail++"}
NON_COMMERCIAL = {"cc-by-nc-4.0", "cc-by-nc-sa-4.0"}

# The matrix: licence of an ingredient, what the result may have, what is uncertain.
MATRIX = [
    ("faipl-1.0-sd", {"faipl-1.0-sd"}, set()),
    ("faipl-1.0", {"faipl-1.0"}, {"faipl-1.0-sd"}),
    ("openrail++", RAIL, NON_COMMERCIAL),
    ("creativeml-openrail-m", RAIL | {"creativeml-openrail-m"}, NON_COMMERCIAL),
    ("cc-by-nc-4.0", {"cc-by-nc-4.0"}, set()),
    ("cc-by-nc-nd-4.0", set(), set()),
]


def parts(*declared: str) -> list[Part]:
    return [
        Part(
            f"m{at}",
            f"Model {at}",
            name,
            "here",
            key=f"ingredients.m{at}.licence_reason",
        )
        for at, name in enumerate(declared)
    ]


def code_of(found: Combination) -> str:
    return found.problem.code if found.problem else ""


@pytest.mark.parametrize(("declared", "allowed", "doubtful"), MATRIX)
def test_one_ingredient_allows_what_the_matrix_says(
    declared: str, allowed: set[str], doubtful: set[str]
) -> None:
    found = combine(parts(declared), "faipl-1.0-sd")

    assert set(found.allowed) == allowed | doubtful
    assert set(found.doubtful) == doubtful


@pytest.mark.parametrize("declared", ["mit", "apache-2.0", "cc0-1.0"])
def test_permissive_ingredient_goes_into_every_common_licence(declared: str) -> None:
    found = combine(parts(declared), declared)

    assert {*RAIL, *NON_COMMERCIAL, "faipl-1.0", declared} <= set(found.allowed)
    assert found.problem is None


@pytest.mark.parametrize(
    ("declared", "chosen"),
    [
        (("creativeml-openrail-m", "faipl-1.0-sd", "openrail++"), "faipl-1.0-sd"),
        (("openrail++",), "openrail++"),
        (("openrail++",), "FAIPL"),
        (("openrail++", "apache-2.0"), "openrail++"),
        (("Fair AI Public License 1.0-SD",), "fair-ai-public-license-1.0-sd"),
    ],
)
def test_combination_that_is_allowed(declared: tuple[str, ...], chosen: str) -> None:
    assert combine(parts(*declared), chosen).problem is None


@pytest.mark.parametrize(
    ("declared", "chosen", "code", "named"),
    [
        (("openrail++", "faipl-1.0-sd"), "openrail++", "licence-forbidden", "m1"),
        (("faipl-1.0-sd",), "faipl-1.0", "licence-forbidden", "m0"),
        (("openrail++",), "mit", "licence-forbidden", "m0"),
        (("faipl-1.0-sd", "faipl-1.0"), "mit", "licence-forbidden", "m0"),
        (
            ("mit", "faipl-1.0-sd", "cc-by-nc-4.0"),
            "mit",
            "licence-conflict",
            "m1 (faipl-1.0-sd) and m2 (cc-by-nc-4.0)",
        ),
        (
            ("faipl-1.0-sd", "cc-by-nc-4.0", "mit"),
            "mit",
            "licence-conflict",
            "m0 (faipl-1.0-sd) and m1 (cc-by-nc-4.0)",
        ),
        (
            ("faipl-1.0-sd", "mit", "cc-by-nc-4.0"),
            "mit",
            "licence-conflict",
            "m0 (faipl-1.0-sd) and m2 (cc-by-nc-4.0)",
        ),
        (("openrail++", "cc-by-nc-nd-4.0"), "mit", "licence-conflict", "m1"),
        (("openrail++", ""), "openrail++", "licence-undeclared", "m1 (Model 1)"),
        (("My own 1",), "openrail++", "licence-undeclared", "My own 1"),
        (("openrail++",), "other", "licence-not-known", "other"),
    ],
)
def test_combination_that_is_refused_names_the_pair(
    declared: tuple[str, ...], chosen: str, code: str, named: str
) -> None:
    found = combine(parts(*declared), chosen)

    assert code_of(found) == code
    assert named in str(found.problem)
    assert found.problem
    assert found.problem.exit_code == 7
    assert "\n" not in str(found.problem)


@pytest.mark.parametrize(
    ("declared", "key"),
    [
        (("",), "m0"),
        (("openrail++", "faipl-1.0-sd"), "m1"),
        (("openrail++", "cc-by-nc-nd-4.0"), "m1"),
    ],
)
def test_refusal_names_the_key_that_takes_a_reason(
    declared: tuple[str, ...], key: str
) -> None:
    found = combine(parts(*declared), "openrail++")

    assert found.problem
    assert f"ingredients.{key}.licence_reason" in found.problem.hint


@pytest.mark.parametrize("declared", ["", "My own 1", "cc-by-nc-nd-4.0", "faipl-1.0"])
def test_ingredient_with_a_reason_has_no_say(declared: str) -> None:
    accepted = Part("m", "Mine", declared, "here", reason="I made it.")

    found = combine([*parts("openrail++"), accepted], "openrail++")

    assert found.problem is None
    assert found.steps[1].left == found.steps[0].left


def test_uncertain_choice_is_allowed_with_a_warning_that_names_the_ingredient() -> None:
    found = combine(parts("mit", "faipl-1.0"), "faipl-1.0-sd")

    assert found.problem is None
    assert [("m1" in line, "m0" in line) for line in found.warnings] == [(True, False)]


def test_certain_choice_has_no_warning() -> None:
    assert combine(parts("mit", "faipl-1.0"), "faipl-1.0").warnings == ()


def test_steps_say_what_is_left_after_each_part() -> None:
    found = combine(parts("openrail++", "faipl-1.0-sd", "mit"), "faipl-1.0-sd")

    assert [set(step.left) for step in found.steps] == [
        RAIL | NON_COMMERCIAL,
        {"faipl-1.0-sd"},
        {"faipl-1.0-sd"},
    ]


def test_hostile_names_stay_on_one_line() -> None:
    poisoned = Part("m0", "t\x1b[31m\u202e", "x\ny\u202e", "here")

    found = combine([poisoned], "a\nb\x1b")

    assert str(found.problem).isprintable()
