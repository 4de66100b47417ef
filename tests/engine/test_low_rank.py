"""Low-rank differences against numpy's singular values, and in the same bits always."""

import math

import numpy as np
import pytest
import torch

from release.engine.low_rank import has_factors, low_rank
from release.engine.methods.seam import NotFiniteError
from release.numeric.dtype import Dtype


def layers(*shape, decay, seed=0):
    """Two layers, the singular values of whose difference fall off like k**-decay."""
    generator = np.random.default_rng(seed)
    rows, columns = shape[0], math.prod(shape[1:])
    short = min(rows, columns)
    left, _ = np.linalg.qr(generator.normal(size=(rows, short)))
    right, _ = np.linalg.qr(generator.normal(size=(columns, short)))
    values = np.arange(1, short + 1) ** -float(decay)
    before = 0.02 * generator.normal(size=shape)
    after = before + (left * values @ right.T).reshape(shape)
    return (torch.tensor(x, dtype=torch.float32) for x in (before, after))


def product(layer):
    return layer.up.flatten(1).double().numpy() @ layer.down.flatten(1).double().numpy()


def matrix(before, after):
    return (after.double() - before.double()).flatten(1).numpy()


def least_error(difference, rank):
    """Return the error of the best approximation (Eckart and Young)."""
    values = np.linalg.svd(difference, compute_uv=False)
    return float(np.linalg.norm(values[rank:]) / np.linalg.norm(values))


@pytest.mark.parametrize(
    ("shape", "rank", "decay"),
    [
        ((40, 60), 8, 0),
        ((40, 60), 8, 3),
        ((600, 520), 16, 0.3),
        ((520, 600), 64, 0),
        ((600, 520), 128, 0),
        ((520, 60, 3, 3), 32, 1),
    ],
)
def test_error_is_within_one_percent_of_the_least(shape, rank, decay):
    before, after = layers(*shape, decay=decay)

    layer = low_rank(before, after, rank=rank)

    difference = matrix(before, after)
    missing = np.linalg.norm(difference - product(layer)) / np.linalg.norm(difference)
    assert missing <= 1.01 * least_error(difference, rank) + 1e-7
    assert layer.relative_error == pytest.approx(missing, rel=1e-9)
    assert layer.snr_db == pytest.approx(-20 * math.log10(missing), rel=1e-9)
    assert (layer.rank, layer.alpha, layer.is_cut) == (rank, float(rank), False)


@pytest.mark.parametrize("shape", [(600, 520), (64, 48)])
def test_difference_of_low_rank_is_found_whole(shape):
    generator = np.random.default_rng(0)
    before = torch.zeros(shape)
    factors = generator.normal(size=(shape[0], 5)), generator.normal(size=(5, shape[1]))
    after = torch.tensor(factors[0] @ factors[1])

    layer = low_rank(before, after, rank=8)

    assert layer.snr_db > 130


def test_convolution_is_one_of_the_kernel_and_one_of_a_point():
    before, after = layers(20, 6, 3, 3, decay=1)
    image = torch.tensor(np.random.default_rng(1).normal(size=(1, 6, 9, 8)))

    layer = low_rank(before, after, rank=4, dtype=Dtype.F64)

    assert (layer.up.shape, layer.down.shape) == ((20, 4, 1, 1), (4, 6, 3, 3))
    conv = torch.nn.functional.conv2d
    torch.testing.assert_close(
        conv(conv(image, layer.down), layer.up),
        conv(image, torch.tensor(product(layer).reshape(20, 6, 3, 3))),
    )


def test_rank_beyond_the_shape_is_cut_and_says_so():
    before, after = layers(20, 12, decay=0.3)

    layer = low_rank(before, after, rank=64)

    assert (layer.rank, layer.wished_rank, layer.is_cut) == (12, 64, True)
    assert layer.relative_error < 1e-6


def test_equal_layers_have_no_factors():
    before, _ = layers(20, 12, decay=1)

    assert low_rank(before, before.clone(), rank=4) is None


def test_largest_entry_of_every_left_vector_is_positive():
    for shape in ((30, 20), (600, 520)):
        before, after = layers(*shape, decay=0.3)
        up = low_rank(before, after, rank=10).up.numpy()
        assert (up.max(axis=0) == np.abs(up).max(axis=0)).all()


def test_sides_share_the_size_of_a_singular_value():
    before, after = layers(600, 520, decay=1)

    layer = low_rank(before, after, rank=10)

    sizes = layer.up.norm(dim=0), layer.down.norm(dim=1)
    expected = torch.arange(1, 11) ** -0.5
    torch.testing.assert_close(sizes[0], expected, rtol=1e-4, atol=0)
    torch.testing.assert_close(sizes[1], expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("dtype", [Dtype.F16, Dtype.BF16])
def test_error_is_that_of_the_rounded_factors(dtype):
    generator = np.random.default_rng(0)
    after = torch.tensor(
        generator.normal(size=(60, 3)) @ generator.normal(size=(3, 50))
    )

    layer = low_rank(torch.zeros(60, 50), after, rank=3, dtype=dtype)

    missing = np.linalg.norm(after.numpy() - product(layer)) / after.norm().item()
    assert layer.relative_error == pytest.approx(missing, rel=1e-9)
    assert layer.relative_error > 1e-5


@pytest.mark.parametrize("shape", [(520, 2000), (64, 48), (520, 60, 3, 3)])
def test_threads_and_reruns_change_no_bit(shape):
    generator = torch.Generator().manual_seed(0)
    before, after = torch.zeros(shape), torch.randn(shape, generator=generator)
    n_threads = torch.get_num_threads()
    found = []
    for threads in (1, 2, 4, 1):
        torch.set_num_threads(threads)
        found.append(low_rank(before, after, rank=24))
    torch.set_num_threads(n_threads)

    for layer in found[1:]:
        assert torch.equal(layer.up, found[0].up)
        assert torch.equal(layer.down, found[0].down)
        assert layer.relative_error == found[0].relative_error


def test_half_and_float_layers_may_be_mixed():
    before, after = layers(30, 20, decay=1)
    half = before.half()

    layer = low_rank(half, after, rank=20)

    np.testing.assert_allclose(product(layer), matrix(half, after), atol=1e-6)


@pytest.mark.parametrize("argument", [0, 1])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_value_that_is_not_finite_is_named(argument, bad):
    pair = [torch.zeros(1500, 1000), torch.ones(1500, 1000)]
    pair[argument][1200, 34] = bad

    with pytest.raises(NotFiniteError) as found:
        low_rank(*pair, rank=4)

    assert (found.value.argument, found.value.element) == (argument, 1_200_034)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((3, 4), True),
        ((3, 4, 1, 1), True),
        ((3,), False),
        ((), False),
        ((3, 0), False),
        ((1, 2, 3), False),
    ],
)
def test_matrices_and_convolutions_have_factors(shape, expected):
    assert has_factors(shape) is expected
