"""Re-execution against a checkpoint: what is counted, element by element."""

from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy

from release.engine.jobs import Operand, TensorJob
from release.engine.plan import Ingredient
from release.engine.recheck import compared, recheck
from release.formats.open import open_checkpoint

N = 300_000
"""More than one chunk."""


@pytest.fixture
def ingredients(tmp_path):
    random = np.random.default_rng(1)
    found = []
    for name in "ab":
        path = tmp_path / f"{name}.safetensors"
        tensors = {"x": random.normal(0, 1, N).astype(np.float16)}
        safetensors.numpy.save_file(tensors, path)
        found.append(Ingredient(name, open_checkpoint(path)))
    yield found
    for each in found:
        each.checkpoint.close()


@pytest.fixture
def right(ingredients, tmp_path):
    a, b = (
        safetensors.numpy.load_file(each.checkpoint.path)["x"].astype(np.float64)
        for each in ingredients
    )
    return (0.3 * a + 0.7 * b).astype(np.float16)


@pytest.fixture
def count(ingredients, tmp_path):
    """Compare values with 0.3 a + 0.7 b."""

    def run(values, threads=1):
        path = tmp_path / "subject.safetensors"
        safetensors.numpy.save_file({"x": values}, path)
        operands = tuple(
            Operand(at, each.checkpoint.tensors["x"], coefficient)
            for at, (each, coefficient) in enumerate(
                zip(ingredients, (0.3, 0.7), strict=True)
            )
        )
        job = TensorJob("x", "other", (N,), copied=False, operands=operands, targets=())
        read = []
        with open_checkpoint(path) as subject:
            jobs = [compared(job, subject.tensors["x"], scale=None), job]
            results = recheck(
                subject, ingredients, jobs, threads=threads, advance=read.append
            )
        assert sum(read) == 2 * job.read_nbytes + values.nbytes
        return results

    return run


def test_what_the_engine_would_write_is_equal(count, right):
    found, unread = count(right)

    assert found.counts.n_elements == found.counts.n_equal == N
    assert (found.counts.n_far, found.counts.worst, found.problem) == (0, 0, "")
    assert unread.counts is None
    assert found.operand_digests == unread.operand_digests


def test_neighbours_and_others_are_told_apart_in_every_chunk(count, right):
    values = right.copy()
    values[0] = np.nextafter(values[0], np.float16(9))
    values[290_000] = np.nextafter(values[290_000], np.float16(-9))
    bits = values.view(np.int16)
    bits[7] += 5
    bits[299_999] ^= np.int16(-(2**15))  # another sign

    (found, _) = count(values)

    assert found.counts.n_equal == N - 4
    assert found.counts.n_near == 2
    assert found.counts.n_far == 2
    magnitude = int(right[299_999:].view(np.uint16)[0] & 0x7FFF)
    assert found.counts.worst == 2 * magnitude


def test_zeros_of_different_sign_are_neighbours(count, right, ingredients):
    """They are not the same bits, and not another value."""
    at = int(np.argmin(np.abs(right.astype(np.float64))))
    values = right.copy()
    values[at] = -0.0 if right[at] == 0 else right[at]

    (found, _) = count(values)

    assert found.counts.n_far == 0


def test_nan_is_far_off(count, right):
    values = right.copy()
    values[5] = np.nan

    (found, _) = count(values)

    assert found.counts.n_far == 1


def test_a_job_keeps_all_but_its_targets(ingredients):
    entry = ingredients[0].checkpoint.tensors["x"]
    job = TensorJob("x", "other", (N,), False, (Operand(0, entry, 1.0),), ())

    found = compared(job, entry, scale=None)

    assert replace(found, targets=()) == job
    assert found.targets[0].dtype is entry.dtype
