"""Every figure against numpy's float64, for every pair of float dtypes."""

import math

import numpy as np
import pytest

from release.parity.report import Verdict

CODES = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
PRECISION = {"F64": 52, "F32": 23, "F16": 10, "BF16": 7, "F8_E4M3": 3, "F8_E5M2": 2}
INTEGERS = {"F64": "<i8", "F32": "<i4", "F16": "<i2", "BF16": "<i2"}
CHUNK = 256 * 1024


def order(data, code):
    """Return bits as Python integers in the order of the values they stand for."""
    bits = np.frombuffer(data, INTEGERS.get(code, "i1"))
    sign_bit = 2 ** (8 * bits.itemsize - 1)
    whole = [int(each) for each in bits]
    return [each if each >= 0 else -(each + sign_bit) for each in whole]


def noise(seed, n, scale=0.05):
    return np.random.default_rng(seed).standard_normal(n) * scale


@pytest.mark.parametrize("second", CODES)
@pytest.mark.parametrize("first", CODES)
def test_figures_are_those_of_float64(rounding, one, first, second):
    values = noise(1, 3000)
    values[:40] = np.tile([0.0, -0.0, 300.0, -1e-6, 2.0**-9], 8)
    other = values + noise(2, 3000, 0.003) * (np.arange(3000) % 3 > 0)
    data = rounding.bits(values, first), rounding.bits(other, second)
    a, b = rounding.values(data[0], first), rounding.values(data[1], second)

    found = one((first, data[0]), (second, data[1])).likeness

    error = a - b
    assert found.n_elements == 3000
    assert found.n_differing == np.count_nonzero(error)
    assert found.max_abs == pytest.approx(np.abs(error).max(), rel=1e-6)
    snr = 10 * math.log10((a**2).sum() / (error**2).sum())
    assert found.snr == pytest.approx(snr, abs=1e-4)
    cosine = (a @ b) / math.sqrt((a @ a) * (b @ b))
    assert found.cosine == pytest.approx(cosine, abs=1e-7)
    assert found.n_not_finite == 0
    coarse = second if PRECISION[second] <= PRECISION[first] else first
    fine, raw = (a, data[1]) if coarse == second else (b, data[0])
    rounded = order(rounding.bits(fine, coarse), coarse)
    steps = [abs(x - y) for x, y in zip(rounded, order(raw, coarse), strict=True)]
    assert found.max_ulp == max(steps)
    assert found.n_beyond_rounding == sum(step > 0 for step in steps)


def test_tensor_of_several_chunks_is_summed_over_equal_chunks_too(rounding, one):
    values = noise(3, 3 * CHUNK + 17)
    other = values.copy()
    other[CHUNK + 5] += 0.5
    other[-1] -= 0.25
    a, b = rounding.bits(values, "F16"), rounding.bits(other, "F16")

    found = one(("F16", a), ("F16", b)).likeness

    exact, changed = rounding.values(a, "F16"), rounding.values(b, "F16")
    error = exact - changed
    assert found.n_differing == found.n_beyond_rounding == 2
    assert found.max_abs == np.abs(error).max()
    assert found.square_a == pytest.approx((exact**2).sum(), rel=1e-5)
    assert found.square_b == pytest.approx((changed**2).sum(), rel=1e-5)
    assert found.snr == pytest.approx(
        10 * math.log10((exact**2).sum() / (error**2).sum()), abs=1e-4
    )


def test_cosine_shows_angles_far_below_the_precision_of_float32(rounding, one):
    values = noise(4, 5000, 1.0)
    other = values.copy()
    other[7] += 1e-5
    a, b = rounding.bits(values, "F32"), rounding.bits(other, "F32")

    found = one(("F32", a), ("F32", b)).likeness

    x, y = rounding.values(a, "F32"), rounding.values(b, "F32")
    length = math.sqrt(x @ x)
    error = x - y
    across = (error @ error) - (error @ x / length) ** 2
    assert 1.0 - found.cosine == pytest.approx(across / (2 * (x @ x)), rel=0.05)
    assert 0 < 1.0 - found.cosine < 1e-13


@pytest.mark.parametrize("code", ["F32", "F64"])
@pytest.mark.parametrize("size", [1e-38, 1e-30, 1e30, 3e38])
def test_tiny_and_huge_values_are_measured_too(rounding, one, code, size):
    values, other = np.array([size, -size, 0.0, size]), np.array([-size, -size, 0, 0])
    a, b = rounding.bits(values, code), rounding.bits(other, code)

    found = one((code, a), (code, b)).likeness

    assert found.n_differing == 2
    assert found.max_abs == pytest.approx(2 * size, rel=1e-6)
    assert found.snr == pytest.approx(10 * math.log10(3 / 5), abs=1e-4)
    assert found.n_not_finite == 0


def test_noise_on_zeros_has_no_signal_and_signal_against_zeros_no_angle(one):
    zeros, ones = np.zeros(4, "<f2").tobytes(), np.ones(4, "<f2").tobytes()

    noisy = one(("F16", zeros), ("F16", ones)).likeness
    lost = one(("F16", ones), ("F16", zeros)).likeness

    assert (noisy.snr, noisy.cosine) == (-math.inf, 0.0)
    assert (lost.snr, lost.cosine) == (0.0, 0.0)


def test_zeros_of_both_signs_are_the_same_value_but_not_the_same_bits(one):
    found = one(
        ("F16", np.array([0.0, 1.0], "<f2").tobytes()),
        ("F16", np.array([-0.0, 1.0], "<f2").tobytes()),
    )

    assert found.verdict is Verdict.SAME_VALUES
    assert found.misses == ()
    assert found.likeness.max_ulp == 0


def test_tensor_without_elements_and_one_without_dimensions(write, compared):
    half = np.array(1.5, "<f2").tobytes()
    single = np.array(1.5, "<f4").tobytes()
    first = write("a", {"none": ("F16", (0, 3), b""), "one": ("F16", (), half)})
    second = write("b", {"none": ("F32", (0, 3), b""), "one": ("F32", (), single)})

    found = compared(first, second)

    assert [each.verdict for each in found.tensors] == [Verdict.SAME_VALUES] * 2
    assert [each.likeness.n_elements for each in found.tensors] == [0, 1]
