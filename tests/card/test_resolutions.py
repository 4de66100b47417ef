"""The table of image sizes, against one worked out by hand for gamma."""

from fractions import Fraction

import pytest

from release.card.resolutions import ImageSize, percent, size_table

GAMMA = """
1:1   | 896x896            | *1024x1024           | 1088x1088
5:4   | 1024x832 (-1.5 %)  | *1152x896 (+2.9 %)   | 1280x1024
4:3   | 1024x768           | 1216x896 (+1.8 %)    | 1280x960
3:2   | 1152x768           | *1216x832 (-2.6 %)   | 1344x896
16:10 | 1152x704 (+2.3 %)  | 1344x832 (+1.0 %)    | 1408x896 (-1.8 %)
16:9  | 1216x704 (-2.8 %)  | *1344x768 (-1.6 %)   | 1472x832 (-0.5 %)
2:1   | 1280x640           | 1408x704             | 1536x768
21:9  | 1472x640 (-1.4 %)  | *1536x640 (+2.9 %)   | 1664x704 (+1.3 %)
"""


def shown(size: ImageSize) -> str:
    star = "*" if size.is_trained else ""
    deviation = percent(size.deviation)
    suffix = f" ({deviation})" if deviation else ""
    return f"{star}{size.width}x{size.height}{suffix}"


def test_table_of_gamma_is_the_one_worked_out_by_hand() -> None:
    expected = [
        [cell.strip() for cell in line.split("|")]
        for line in GAMMA.strip().splitlines()
    ]

    rows = size_table(786_432, 1_310_720)

    assert [
        [row.ratio, shown(row.small), shown(row.standard), shown(row.large)]
        for row in rows
    ] == expected


@pytest.mark.parametrize(
    ("low", "high"), [(786_432, 1_310_720), (262_144, 589_824), (1, 10**9)]
)
def test_every_size_lies_in_the_range_on_the_grid_and_near_its_ratio(
    low: int, high: int
) -> None:
    rows = size_table(low, high)

    sizes = [size for row in rows for size in (row.small, row.standard, row.large)]
    assert len(sizes) >= 9
    assert all(low <= size.pixels <= high for size in sizes)
    assert {side % 64 for size in sizes for side in (size.width, size.height)} == {0}
    assert all(abs(size.deviation) <= Fraction(35, 1000) for size in sizes)


def test_one_size_is_enough_for_a_row() -> None:
    rows = size_table(1024 * 1024, 1024 * 1024)

    square = rows[0]
    assert square.ratio == "1:1"
    assert square.small == square.standard == square.large
    assert square.small.is_trained


@pytest.mark.parametrize(("low", "high"), [(1, 2), (10**9, 10**10), (2, 1)])
def test_range_without_a_size_gives_no_row(low: int, high: int) -> None:
    assert size_table(low, high) == ()


@pytest.mark.parametrize(
    ("deviation", "text"),
    [
        (Fraction(29, 1000), "+2.9 %"),
        (Fraction(-1, 64), "-1.6 %"),
        (Fraction(0), ""),
        (Fraction(4, 10_000), ""),
        (Fraction(-4, 10_000), ""),
        (Fraction(1, 10), "+10.0 %"),
    ],
)
def test_deviation_is_shown_to_a_tenth_of_a_percent(
    deviation: Fraction, text: str
) -> None:
    assert percent(deviation) == text
