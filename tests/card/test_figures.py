"""Numbers as a card shows them."""

from fractions import Fraction

import pytest

from release.card import figures
from release.errors import CardError


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        ("inf", "exact"),
        ("74.0512", "74.1 dB"),
        ("31.57", "31.6 dB"),
        ("-3.04", "-3.0 dB"),
        ("0", "0.0 dB"),
        ("1.2e+02", "120.0 dB"),
    ],
)
def test_snr_is_shown_to_a_tenth(figure: str, text: str) -> None:
    assert figures.snr(figure) == text


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        ("0", "0"),
        ("inf", "inf"),
        ("0.000244140625", "0.000244"),
        ("0.03125", "0.0312"),
        ("1.5e-09", "1.5e-9"),
        ("16", "16"),
    ],
)
def test_error_is_shown_to_three_digits(figure: str, text: str) -> None:
    assert figures.error(figure) == text


@pytest.mark.parametrize("figure", ["1.2.3", "..", "1e99999999", "1e-99999999", "-"])
def test_figure_that_is_no_number_of_use_is_refused(figure: str) -> None:
    for show in (figures.snr, figures.error):
        with pytest.raises(CardError) as refused:
            show(figure)
        assert refused.value.code == "figure"


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.675", Fraction(27, 40)), ("-1", Fraction(-1)), ("0", Fraction(0))],
)
def test_coefficient_is_exact(text: str, value: Fraction) -> None:
    assert figures.coefficient(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1/0",
        "1e9",
        "1e999999999",
        "nan",
        " 1",
        "1\n",
        "+1",
        ".5",
        "\N{FULLWIDTH DIGIT NINE}",
    ],
)
def test_coefficient_that_is_no_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(CardError) as refused:
        figures.coefficient(text)

    assert refused.value.code == "figure"
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("value", "text"), [(4.0, "4"), (6.5, "6.5"), (0.1 + 0.2, "0.3")]
)
def test_setting_has_no_trailing_digits(value: float, text: str) -> None:
    assert figures.number(value) == text
