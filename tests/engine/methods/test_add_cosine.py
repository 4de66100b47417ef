"""add_cosine against a formula on whole matrices."""

import numpy as np
import pytest

from release.engine.methods import add_cosine
from release.engine.methods.seam import NotFiniteError
from release.errors import RecipeError


def by_column(a, b, alpha):
    """Return k a + (1 - k) b, k from the cosine of every column over dim 0."""
    first, second = (x.reshape(x.shape[0], -1) for x in (a, b))
    lengths = np.linalg.norm(first, axis=0) * np.linalg.norm(second, axis=0)
    dots = np.einsum("ij,ij->j", first, second)
    cosine = np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths != 0)
    k = np.clip(cosine - alpha, 0, 1)
    return (k * first + (1 - k) * second).reshape(a.shape)


@pytest.mark.parametrize("alpha", [0, 0.5, 0.95, 1])
@pytest.mark.parametrize(
    "shape", [(64, 50), (2, 3000), (3000, 2), (7, 11, 3, 3), (2500,), (3, 999), (2, 1)]
)
@pytest.mark.parametrize("spread", [0.3, 3.0])
def test_every_column_has_a_share_of_its_own(merge, weights, shape, alpha, spread):
    a, b = weights(*shape, spread=spread)

    result = merge("add_cosine", [a, b], alpha=alpha)

    np.testing.assert_allclose(result, by_column(a, b, alpha), rtol=1e-12, atol=1e-14)


def test_equal_columns_stay_and_square_ones_are_replaced(merge):
    a = np.array([[1.0, 1.0, 1.0], [2.0, 0.0, 0.0]])
    b = np.array([[1.0, 0.0, -1.0], [2.0, 1.0, 0.0]])

    result = merge("add_cosine", [a, b], alpha=0)

    np.testing.assert_allclose(result, b, rtol=1e-15)


def test_alpha_one_is_the_second_model(merge, weights):
    a, b = weights(30, 40)

    assert np.array_equal(merge("add_cosine", [a, b], alpha=1), b)


@pytest.mark.parametrize("zero", [0, 1])
def test_zero_column_takes_the_second_model(merge, weights, zero):
    models = weights(30, 40)
    models[zero][:, 7] = 0.0

    result = merge("add_cosine", models, alpha=0.25)

    assert np.array_equal(result[:, 7], models[1][:, 7])
    np.testing.assert_allclose(result, by_column(*models, 0.25), rtol=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [(3.0, 5.0, 3.5), (-3.0, -5.0, -3.5), (3.0, -5.0, -5.0), (0.0, 5.0, 5.0)],
)
@pytest.mark.parametrize("shape", [(), (1,), (1, 1200)])
def test_single_row_goes_by_sign(merge, shape, a, b, expected):
    models = [np.full(shape, a), np.full(shape, b)]

    result = merge("add_cosine", models, alpha=0.25)

    assert np.array_equal(result, np.full(shape, expected))


@pytest.mark.parametrize("shape", [(29, 37), (2, 600), (1, 1100), (1100,)])
def test_cut_of_the_chunks_changes_no_bit(merge, weights, shape):
    models = weights(*shape)

    first, *rest = (
        merge("add_cosine", models, alpha=0.3, cut=cut) for cut in (1, 640, 2000)
    )

    assert np.array_equal(first, rest[0])
    assert np.array_equal(first, rest[1])


def test_more_columns_than_memory_allows_are_refused(merge, weights, monkeypatch):
    monkeypatch.setattr(add_cosine, "MAX_COLUMNS", 39)

    with pytest.raises(RecipeError, match="tensor has 40 columns, expected at most 39"):
        merge("add_cosine", weights(30, 40), alpha=0.5)


@pytest.mark.parametrize("at", [0, 1])
def test_squares_beyond_float64_are_reported(merge, at):
    models = [np.ones((5, 2)), np.ones((5, 2))]
    models[at][3, 1] = 1e200

    with pytest.raises(NotFiniteError) as found:
        merge("add_cosine", models, alpha=0.5)

    assert (found.value.argument, found.value.element) == (at, None)
