"""dare: what is kept, how it is enlarged, and that nothing else moves the choice."""

import numpy as np
import pytest

from release.engine.random_bits import stream_key


def mix(word):
    """Return SplitMix64's output for a state, written out in plain integers."""
    mask = 2**64 - 1
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & mask
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & mask
    return word ^ (word >> 31)


def kept(seed, name, density, count):
    key = stream_key(seed, name)
    words = (mix((key + i * 0x9E3779B97F4A7C15) % 2**64) for i in range(1, count + 1))
    return np.array([(word >> 11) / 2**53 < density for word in words])


@pytest.mark.parametrize("density", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("scale", [1, -0.5, 2.5])
def test_kept_differences_are_enlarged_and_dropped_ones_are_not_there(
    merge, weights, density, scale
):
    base, other = weights(40, 60)

    result = merge(
        "dare", [base, other], density=density, seed=7, name="a.b", lambda_=scale
    )

    mask = kept(7, "a.b", density, base.size).reshape(base.shape)
    assert np.array_equal(result[~mask], base[~mask])
    expected = base + scale * (other - base) / density
    np.testing.assert_allclose(result[mask], expected[mask], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("shape", [(), (1,), (3000,), (30, 40), (5, 6, 3, 3)])
def test_density_one_is_the_other_model_whatever_the_sizes(merge, shape):
    base, other = np.random.default_rng(0).normal(size=(2, *shape))

    result = merge("dare", [base, other * 1e-30], density=1, seed=1, lambda_=1)

    assert np.array_equal(result, other * 1e-30)


def test_lambda_zero_is_the_base(merge, weights):
    base, other = weights(30, 40)

    result = merge("dare", [base, other], density=0.5, seed=1, lambda_=0)

    assert np.array_equal(result, base)


def test_share_of_kept_elements_is_the_density(merge):
    base, other = np.zeros(200_000), np.ones(200_000)

    result = merge("dare", [base, other], density=0.2, seed=3, lambda_=1, cut=50_000)

    assert set(np.unique(result)) == {0.0, 5.0}
    assert abs(float(result.mean()) - 1.0) < 5 * (0.8 / 0.2 / result.size) ** 0.5


def test_seed_and_name_each_change_the_choice(merge):
    models = [np.zeros(3000), np.ones(3000)]

    first = merge("dare", models, density=0.5, seed=1, lambda_=1, name="x")
    again = merge("dare", models, density=0.5, seed=1, lambda_=1, name="x")
    seeded = merge("dare", models, density=0.5, seed=2, lambda_=1, name="x")
    named = merge("dare", models, density=0.5, seed=1, lambda_=1, name="y")

    assert np.array_equal(first, again)
    assert 0.4 < float((first != seeded).mean()) < 0.6
    assert 0.4 < float((first != named).mean()) < 0.6


def test_shape_does_not_change_the_choice(merge):
    models = np.zeros(1200), np.ones(1200)

    flat = merge("dare", models, density=0.5, seed=1, lambda_=1)
    matrix = merge(
        "dare",
        [model.reshape(30, 40) for model in models],
        density=0.5,
        seed=1,
        lambda_=1,
    )

    assert np.array_equal(flat, matrix.reshape(-1))


def test_cut_of_the_chunks_changes_no_bit(merge, weights):
    models = weights(29, 37)

    first, *rest = (
        merge("dare", models, density=0.3, seed=5, lambda_=1, cut=cut)
        for cut in (1, 640, 2000)
    )

    assert np.array_equal(first, rest[0])
    assert np.array_equal(first, rest[1])
