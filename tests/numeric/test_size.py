"""Sizes as people read them."""

import pytest

from release.numeric.size import size_text


@pytest.mark.parametrize(
    ("nbytes", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (9994, "9.99 kB"),
        (9996, "10.0 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (6_938_040_682, "6.94 GB"),
        (5 * 10**15, "5000 TB"),
    ],
)
def test_size_has_three_digits_and_decimal_units(nbytes, shown):
    assert size_text(nbytes) == shown
