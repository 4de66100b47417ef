"""Low-rank differences against numpy's singular values, and in the same bits always."""

import math

import numpy as np
import pytest
import torch

from release.engine.difference import subtract
from release.engine.low_rank import held_nbytes, low_rank
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


def factors(before, after, *, rank, dtype=Dtype.F32, length=1000):
    """Return the difference of two layers, read in chunks, as factors."""
    whole = before.reshape(-1), after.reshape(-1)
    chunks = zip(*(each.split(length) for each in whole), strict=True)
    return low_rank(subtract(before.shape, chunks), rank=rank, dtype=dtype)


def product(layer):
    return layer.up.double().numpy() @ layer.down.double().numpy()


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

    layer = factors(before, after, rank=rank)

    difference = matrix(before, after)
    missing = np.linalg.norm(difference - product(layer)) / np.linalg.norm(difference)
    assert missing <= 1.01 * least_error(difference, rank) + 1e-7
    assert layer.relative_error == pytest.approx(missing, rel=1e-9)
    assert (layer.up.shape[1], layer.down.shape[0], layer.alpha) == (rank, rank, rank)


@pytest.mark.parametrize(
    ("shape", "rank", "decay"), [((1030, 2048), 16, 0.5), ((2048, 1030), 300, 0.2)]
)
def test_error_of_a_large_layer_is_the_least(shape, rank, decay):
    before, after = layers(*shape, decay=decay)
    assert before.numel() > 2**21

    layer = factors(before, after, rank=rank, length=2**18)

    values = np.arange(1, min(shape) + 1) ** -decay
    least = np.linalg.norm(values[rank:]) / np.linalg.norm(values)
    difference = matrix(before, after)
    missing = np.linalg.norm(difference - product(layer)) / np.linalg.norm(difference)
    assert missing == pytest.approx(least, rel=1e-4)
    assert layer.relative_error == pytest.approx(missing, rel=1e-9)


@pytest.mark.parametrize("shape", [(600, 520), (64, 48), (1030, 2048), (2048, 1030)])
def test_difference_of_low_rank_is_found_whole(shape):
    generator = np.random.default_rng(0)
    before = torch.zeros(shape)
    left = generator.normal(size=(shape[0], 5))
    after = torch.tensor(left @ generator.normal(size=(5, shape[1])))

    layer = factors(before, after, rank=8)

    assert layer.relative_error < 1e-6 / 3


def test_convolution_is_one_of_the_kernel_and_one_of_a_point():
    before, after = layers(20, 6, 3, 3, decay=1)
    image = torch.tensor(np.random.default_rng(1).normal(size=(1, 6, 9, 8)))

    layer = factors(before, after, rank=4, dtype=Dtype.F64)

    assert (layer.up.shape, layer.down.shape) == ((20, 4), (4, 54))
    conv = torch.nn.functional.conv2d
    torch.testing.assert_close(
        conv(conv(image, layer.down.view(4, 6, 3, 3)), layer.up.view(20, 4, 1, 1)),
        conv(image, torch.tensor(product(layer).reshape(20, 6, 3, 3))),
    )


def test_rank_beyond_the_shape_is_cut():
    before, after = layers(20, 12, decay=0.3)

    layer = factors(before, after, rank=64)

    assert (layer.down.shape, layer.alpha) == ((12, 12), 12.0)
    assert layer.relative_error < 1e-6


def test_equal_layers_have_no_factors():
    before, _ = layers(20, 12, decay=1)

    assert factors(before, before.clone(), rank=4) is None


def test_largest_entry_of_every_left_vector_is_positive():
    for shape in ((30, 20), (600, 520)):
        before, after = layers(*shape, decay=0.3)
        up = factors(before, after, rank=10).up.numpy()
        assert (up.max(axis=0) == np.abs(up).max(axis=0)).all()


def test_sides_share_the_size_of_a_singular_value():
    before, after = layers(600, 520, decay=1)

    layer = factors(before, after, rank=10)

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

    layer = factors(torch.zeros(60, 50), after, rank=3, dtype=dtype)

    missing = np.linalg.norm(after.numpy() - product(layer)) / after.norm().item()
    assert layer.relative_error == pytest.approx(missing, rel=1e-9)
    assert layer.relative_error > 1e-5


@pytest.mark.parametrize(
    "shape", [(520, 2000), (64, 48), (520, 60, 3, 3), (2048, 1030)]
)
def test_threads_and_reruns_change_no_bit(shape):
    generator = torch.Generator().manual_seed(0)
    before, after = torch.zeros(shape), torch.randn(shape, generator=generator)
    n_threads = torch.get_num_threads()
    found = []
    for threads in (1, 2, 4, 1):
        torch.set_num_threads(threads)
        found.append(factors(before, after, rank=24))
    torch.set_num_threads(n_threads)

    for layer in found[1:]:
        assert torch.equal(layer.up, found[0].up)
        assert torch.equal(layer.down, found[0].down)
        assert layer.relative_error == found[0].relative_error


def test_half_and_float_layers_may_be_mixed():
    before, after = layers(30, 20, decay=1)
    half = before.half()

    layer = factors(half, after, rank=20)

    np.testing.assert_allclose(product(layer), matrix(half, after), atol=1e-6)


@pytest.mark.parametrize("argument", [0, 1])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_value_that_is_not_finite_is_named(argument, bad):
    pair = [torch.zeros(1500, 1000), torch.ones(1500, 1000)]
    pair[argument][1200, 34] = bad

    with pytest.raises(NotFiniteError) as found:
        factors(*pair, rank=4)

    assert (found.value.argument, found.value.element) == (argument, 1_200_034)


def test_chunks_change_no_bit():
    before, after = layers(60, 50, decay=1)

    found = [factors(before, after, rank=4, length=n) for n in (7, 1000, 3000)]

    assert all(torch.equal(each.up, found[0].up) for each in found)
    assert all(torch.equal(each.down, found[0].down) for each in found)


@pytest.mark.parametrize(
    ("shape", "rank", "limit"),
    [
        ((1280, 1280), 64, 32),
        ((10240, 1280), 64, 80),
        ((1280, 1280, 3, 3), 64, 90),
        ((1280, 2560, 3, 3), 64, 180),
    ],
)
def test_layers_of_sdxl_take_no_more_memory_than_this_many_mib(shape, rank, limit):
    """The difference alone, in float64, would be 225 MiB for the last of them."""
    assert held_nbytes(shape, rank) < limit * 2**20
