"""NaN and infinities: equal to themselves, different from everything else."""

import numpy as np
import pytest

from release.parity.report import Verdict

NAN, INF = float("nan"), float("inf")


def f16(*values):
    return "F16", np.array(values, "<f2").tobytes()


def f32(*values):
    return "F32", np.array(values, "<f4").tobytes()


def test_nan_of_the_same_bits_is_equal(one):
    found = one(f16(1.0, NAN), f16(1.0, NAN))

    assert found.verdict is Verdict.EQUAL
    assert found.misses == ()


def test_nan_of_other_bits_differs_where_the_dtype_is_the_same(one):
    quiet = ("F16", (0x7E00).to_bytes(2, "little") * 3)
    other = ("F16", (0x7E01).to_bytes(2, "little") * 3)

    found = one(quiet, other)

    assert found.verdict is Verdict.DIFFERS
    assert found.misses == ("3 of 3 values are NaN or infinite in one file only",)


def test_nan_and_infinities_survive_a_change_of_dtype(one):
    found = one(f32(1.0, NAN, INF, -INF), f16(1.0, NAN, INF, -INF))

    assert found.verdict is Verdict.SAME_VALUES


def test_nan_of_either_sign_is_the_same_nan_in_another_dtype(one):
    negative = ("F32", (0xFFC00000).to_bytes(4, "little") + (1).to_bytes(4, "little"))
    positive = ("F16", (0x7E00).to_bytes(2, "little") + bytes(2))

    found = one(negative, positive)

    assert found.verdict is Verdict.B_ROUNDED
    assert found.likeness.n_differing == 1  # the subnormal that became zero


def test_nan_beside_values_that_were_rounded_is_no_difference(one, rounding):
    values = np.random.default_rng(1).standard_normal(500)
    data = rounding.bits(values, "F8_E4M3")

    found = one(f32(*values, NAN), ("F8_E4M3", data + b"\x7f"))

    assert found.verdict is Verdict.B_ROUNDED
    assert found.likeness.max_ulp == 0
    assert found.likeness.n_beyond_rounding == 0
    assert found.likeness.snr == pytest.approx(31.6, abs=0.5)


@pytest.mark.parametrize("tolerances", [[], ["snr=0"], ["max-abs=9e9", "ulp=9999"]])
@pytest.mark.parametrize(
    ("a", "b"),
    [(NAN, 2.0), (2.0, NAN), (INF, 65504.0), (2.0, -INF), (INF, -INF), (NAN, INF)],
)
def test_what_is_finite_in_one_file_only_never_passes(one, a, b, tolerances):
    found = one(f32(1.0, a, 3.0), f16(1.0, b, 3.0), *tolerances)

    assert found.verdict is Verdict.DIFFERS
    assert found.misses == ("1 of 3 values are NaN or infinite in one file only",)
    assert found.likeness.n_differing == found.likeness.n_not_finite == 1
    assert found.likeness.n_beyond_rounding == 1
    assert found.likeness.max_ulp == 0
    assert found.likeness.max_abs == 0.0


def test_infinity_that_fp8_clamped_is_a_difference(one):
    found = one(f32(INF, 1.0), ("F8_E4M3", bytes([0x7E, 0x38])))

    assert found.verdict is Verdict.DIFFERS


def test_figures_are_of_what_is_finite(one):
    found = one(f16(NAN, 3.0, 4.0, INF), f16(1.0, 3.0, 4.5, INF)).likeness

    assert (found.n_differing, found.n_not_finite) == (2, 1)
    assert found.max_abs == 0.5
    assert found.square_a == 25.0
    assert found.error_square == 0.25
