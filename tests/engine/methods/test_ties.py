"""ties against trim, elect and merge on whole tensors."""

import numpy as np
import pytest


def trimmed(delta, density):
    """Return the difference with all but its largest elements set to 0."""
    flat = delta.reshape(-1)
    n_kept = max(1, int(density * flat.size))
    order = sorted(range(flat.size), key=lambda i: (-abs(flat[i]), i))
    result = np.zeros_like(flat)
    result[order[:n_kept]] = flat[order[:n_kept]]
    return result.reshape(delta.shape)


def ties(models, density, scale):
    base, *others = models
    deltas = np.array([trimmed(other - base, density) for other in others])
    elected = np.sign(deltas.sum(axis=0))
    agrees = (np.sign(deltas) == elected) & (elected != 0)
    count = np.maximum(agrees.sum(axis=0), 1)
    return base + scale * (deltas * agrees).sum(axis=0) / count


@pytest.mark.parametrize("density", [0.1, 0.2, 0.5, 1])
@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("scale", [1, 0.4, -1.5])
@pytest.mark.parametrize("shape", [(40, 60), (5, 7, 3, 3), (1500,)])
def test_result_is_the_mean_of_the_largest_that_agree(
    merge, weights, shape, count, density, scale
):
    models = weights(*shape, count=count)

    result = merge("ties", models, density=density, lambda_=scale)

    expected = ties(models, density, scale)
    np.testing.assert_allclose(result, expected, rtol=1e-11, atol=1e-12)


def test_example_by_hand(merge):
    base = np.zeros(4)
    others = [
        np.array([4.0, -3.0, 1.0, 2.0]),
        np.array([2.0, 1.0, -1.0, 5.0]),
        np.array([-9.0, 2.0, 0.5, 1.0]),
    ]

    result = merge("ties", [base, *others], density=0.5, lambda_=1)

    # Kept: 4 -3 . . | 2 . . 5 | -9 2 . . ; signs: - - 0 +.
    assert result.tolist() == [-9.0, -3.0, 0.0, 5.0]


@pytest.mark.parametrize("shape", [(), (1,), (3000,), (30, 40)])
def test_one_model_with_density_one_is_that_model_whatever_the_sizes(merge, shape):
    base, other = np.random.default_rng(0).normal(size=(2, *shape))

    result = merge("ties", [base, other * 1e-30], density=1, lambda_=1)

    assert np.array_equal(result, other * 1e-30)


def test_number_is_its_own_largest_element(merge):
    result = merge("ties", [np.array(1.0), np.array(4.0)], density=0.001, lambda_=1)

    assert result == 4.0


def test_opposite_differences_leave_the_base(merge, weights):
    base, other = weights(30, 40)
    opposite = base - (other - base)

    result = merge("ties", [base, other, opposite], density=1, lambda_=1)

    assert np.array_equal(result, base)


def test_of_equal_magnitudes_the_first_elements_are_kept(merge):
    base = np.zeros(5000)
    other = np.where(np.arange(5000) % 2, -1.0, 1.0)

    result = merge("ties", [base, other], density=0.3, lambda_=1)

    assert np.array_equal(result[:1500], other[:1500])
    assert not result[1500:].any()


def test_cut_of_the_chunks_changes_no_bit(merge, weights):
    models = weights(29, 37, count=4)

    first, *rest = (
        merge("ties", models, density=0.3, lambda_=0.7, cut=cut)
        for cut in (1, 640, 2000)
    )

    assert np.array_equal(first, rest[0])
    assert np.array_equal(first, rest[1])


def test_difference_beyond_float64_is_not_taken_for_the_base(merge):
    base = np.full(3, -1.7e308)
    others = [np.full(3, 1.7e308), np.full(3, 1.7e308), np.full(3, -1.7e308)]

    result = merge("ties", [base, *others], density=1, lambda_=1)

    assert np.array_equal(result, np.full(3, np.inf)) or np.isnan(result).all()
