"""Products do not depend on the order in which their terms are added."""

from fractions import Fraction

import numpy as np
import pytest

from release.formats.lora import product
from release.formats.lora.product import ExactProduct, Factor

F16 = (11, -24)
F32 = (24, -149)


def factors(rank, form, *, spread, seed=1):
    """Return factors whose magnitudes spread over a range of binary exponents."""
    random = np.random.default_rng(seed)

    def draw(*shape):
        values = random.standard_normal(shape) * 2.0 ** -random.integers(
            0, spread, shape
        )
        if form is F16:
            return values.astype(np.float16).astype(np.float64)
        return values.astype(np.float32).astype(np.float64)

    return draw(70, rank), draw(rank, 90)


def whole(left, right, form):
    return ExactProduct(Factor(left, *form), Factor(right, *form)).rows(0, len(left))


def exact(left, right, row, column):
    """Return an element as a fraction."""
    pairs = zip(left[row], right[:, column], strict=True)
    return sum((Fraction(float(a)) * Fraction(float(b)) for a, b in pairs), Fraction(0))


@pytest.mark.parametrize("rank", [1, 5, 64, 128])
def test_product_of_f16_is_the_exact_one(rank):
    left, right = factors(rank, F16, spread=3)
    left, right = left * 0.0625, right * 0.0625

    found = whole(left, right, (11, -28))

    for row, column in ((0, 0), (3, 89), (69, 1), (64, 64)):
        assert Fraction(float(found[row, column])) == exact(left, right, row, column)


@pytest.mark.parametrize("rank", [1, 5, 64, 300])
@pytest.mark.parametrize("spread", [1, 12, 40])
def test_product_of_f32_is_off_by_far_less_than_f32_rounds(rank, spread):
    left, right = factors(rank, F32, spread=spread)

    found = whole(left, right, F32)

    room = 53 - (rank - 1).bit_length()
    bound = rank * 2.0 ** (3 - room // 2 * 2) * abs(left).max() * abs(right).max()
    for row, column in ((0, 0), (3, 89), (69, 1), (64, 64)):
        off = Fraction(float(found[row, column])) - exact(left, right, row, column)
        assert abs(float(off)) < bound


@pytest.mark.parametrize("form", [F16, F32])
@pytest.mark.parametrize("spread", [1, 30])
def test_order_of_the_terms_leaves_no_trace(form, spread):
    left, right = factors(96, form, spread=spread)
    order = np.random.default_rng(5).permutation(96)

    straight = whole(left, right, form)
    shuffled = whole(left[:, order], right[order], form)

    assert straight.tobytes() == shuffled.tobytes()
    plain, other = left @ right, left[:, order] @ right[order]
    assert spread == 1 or form is F16 or plain.tobytes() != other.tobytes()


@pytest.mark.parametrize("form", [F16, F32])
def test_cut_of_the_matrices_leaves_no_trace(form, monkeypatch):
    left, right = factors(33, form, spread=25)
    expected = whole(left, right, form)

    monkeypatch.setattr(product, "_BLOCK_ROWS", 3)
    monkeypatch.setattr(product, "_BLOCK_TERMS", 700)
    found = whole(left, right, form)
    one_by_one = ExactProduct(Factor(left, *form), Factor(right, *form))
    rows = np.vstack([one_by_one.rows(row, row + 1) for row in range(70)])

    assert found.tobytes() == expected.tobytes()
    assert rows.tobytes() == expected.tobytes()


def test_zero_is_positive_whatever_its_terms():
    left = np.array([[-1.0, 0.0], [0.0, -0.0]])
    right = np.array([[0.0, -0.0, 0.0], [1.0, -1.0, 0.0]])

    found = whole(left, right, F16)

    assert not np.signbit(found).any()


def test_negative_zero_of_a_library_becomes_positive(monkeypatch):
    monkeypatch.setattr(np, "matmul", lambda *_, out: out.fill(-0.0))

    for form in (F16, F32):
        found = whole(*factors(4, form, spread=30), form)
        assert not np.signbit(found).any()


@pytest.mark.parametrize("rank", [64, 96, 128])
def test_sums_of_the_greatest_size_are_exact_in_every_order(rank):
    random = np.random.default_rng(11)
    left = random.uniform(0.75, 1.0, (40, rank)).astype(np.float32).astype(float)
    right = random.uniform(0.75, 1.0, (rank, 40)).astype(np.float32).astype(float)
    expected = whole(left, right, F32)

    for seed in range(5):
        order = np.random.default_rng(seed).permutation(rank)
        assert whole(left[:, order], right[order], F32).tobytes() == expected.tobytes()


def test_factors_of_zeros_make_zero():
    found = whole(np.zeros((3, 4)), np.zeros((4, 5)), F32)

    assert found.tobytes() == np.zeros((3, 5)).tobytes()


def test_largest_and_smallest_f32_values_do_not_overflow():
    left = np.array([[3.4e38, 1e-45]], np.float32).astype(np.float64)
    right = np.array([[1.0], [1.0]])

    found = whole(left, right, F32)

    assert found[0, 0] == pytest.approx(3.4e38)


def test_every_call_is_small_enough_for_one_thread(monkeypatch):
    sizes = []
    multiply = np.matmul

    def watched(left, right, out):
        sizes.append(left.shape[0] * left.shape[1] * right.shape[1])
        return multiply(left, right, out=out)

    monkeypatch.setattr(np, "matmul", watched)
    random = np.random.default_rng(3)
    whole(random.standard_normal((200, 48)), random.standard_normal((48, 900)), F32)

    assert len(sizes) > 10
    assert max(sizes) <= 2**18
