"""How much of a damaged header must agree."""

import pytest

from release.repair.alike import OwnHeader, is_other


def forms(n_mine, *, digests):
    """Return ten tensors, of which `n_mine` are those of the file."""
    return {
        f"t{at}": (
            "F16" if at < n_mine else "F8_E4M3",
            (2, 3),
            f"{at if at < n_mine else at + 100:032x}" if digests else None,
        )
        for at in range(10)
    }


@pytest.mark.parametrize("digests", [True, False])
@pytest.mark.parametrize(
    ("n_mine", "is_sound", "expected"),
    [(10, True, False), (9, True, True), (9, False, False), (6, False, True)],
)
def test_variant_that_shares_half_of_the_tensors_is_another_file(
    n_mine, is_sound, expected, digests
):
    own = OwnHeader(forms(10, digests=digests), is_sound, 100)

    assert is_other(own, forms(n_mine, digests=digests)) is expected
