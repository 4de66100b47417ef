"""The same values under other names and shapes."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from release.errors import CheckpointError, DtypeError, ShapeError, TensorMismatchError
from release.formats.assembled import AssembledCheckpoint, Assembly
from release.formats.checkpoint import SafetensorsCheckpoint
from release.numeric.dtype import Dtype

RNG = np.random.default_rng(3)
ARRAYS = {
    "q": RNG.standard_normal((3, 5)).astype(np.float16),
    "k": RNG.standard_normal((2, 5)).astype(np.float16),
    "v": RNG.standard_normal((4, 5)).astype(np.float16),
    "other": RNG.standard_normal((6, 7)).astype(np.float16),
    "wide": RNG.standard_normal((40, 30)),
    "bytes": RNG.integers(0, 255, (5, 3), dtype=np.uint8),
    "row": RNG.standard_normal(4).astype(np.float16),
    "one": np.array(1, dtype=np.float16),
}
PACKED = Assembly(("q", "k", "v"), (9, 5))
EXPECTED_PACKED = np.concatenate([ARRAYS["q"], ARRAYS["k"], ARRAYS["v"]]).tobytes()


@pytest.fixture
def base(tmp_path):
    path = tmp_path / "base.safetensors"
    safetensors.numpy.save_file(ARRAYS, path, {"k": "v"})
    return SafetensorsCheckpoint(path)


def read(checkpoint, name, begin=0, end=None):
    entry = checkpoint.tensors[name]
    buffer = bytearray((entry.nbytes if end is None else end) - begin)
    checkpoint.read_into(entry, begin, memoryview(buffer))
    return bytes(buffer)


def test_parts_are_stored_one_below_the_other(base):
    with AssembledCheckpoint(base, {"qkv": PACKED}) as checkpoint:
        assert read(checkpoint, "qkv") == EXPECTED_PACKED
        assert checkpoint.tensors["qkv"].shape == (9, 5)
        assert checkpoint.tensors["qkv"].dtype is Dtype.F16


@pytest.mark.parametrize("step", [1, 7, 30, 33, 89])
def test_ranges_may_begin_and_end_in_any_part(base, step):
    with AssembledCheckpoint(base, {"qkv": PACKED}) as checkpoint:
        parts = [
            read(checkpoint, "qkv", at, min(at + step, 90)) for at in range(0, 90, step)
        ]

    assert b"".join(parts) == EXPECTED_PACKED


@pytest.mark.parametrize("name", ["q", "wide", "bytes"])
def test_matrix_is_transposed_whatever_its_width(base, name):
    shape = ARRAYS[name].shape[::-1]

    with AssembledCheckpoint(base, {"t": Assembly((name,), shape, True)}) as checkpoint:
        assert read(checkpoint, "t") == ARRAYS[name].T.tobytes()
        assert checkpoint.tensors["t"].shape == shape


def test_ranges_of_transposed_matrices_are_read_by_several_threads(base):
    assemblies = {
        "t": Assembly(("wide",), (30, 40), transposed=True),
        "u": Assembly(("other",), (7, 6), transposed=True),
    }
    expected = {"t": ARRAYS["wide"].T.tobytes(), "u": ARRAYS["other"].T.tobytes()}
    ranges = [("t", at, at + 100) for at in range(0, 9600, 100)]
    ranges += [("u", at, at + 4) for at in range(0, 84, 4)]
    shuffled = [ranges[n] for n in np.random.default_rng(0).permutation(len(ranges))]

    with (
        AssembledCheckpoint(base, assemblies) as checkpoint,
        ThreadPoolExecutor(8) as pool,
    ):
        found = list(pool.map(lambda each: read(checkpoint, *each), shuffled))

    assert found == [expected[name][begin:end] for name, begin, end in shuffled]


def test_chunks_of_a_transposed_matrix_cost_one_reading(base):
    calls = []
    original = base.read_into
    base.read_into = lambda *args: (calls.append(args[0].name), original(*args))

    with AssembledCheckpoint(
        base, {"t": Assembly(("wide",), (30, 40), transposed=True)}
    ) as checkpoint:
        for at in range(0, 9600, 960):
            read(checkpoint, "t", at, at + 960)

    assert calls == ["wide"]


def test_matrix_becomes_a_convolution_of_the_same_bytes(base):
    with AssembledCheckpoint(
        base, {"conv": Assembly(("other",), (6, 7, 1, 1))}
    ) as checkpoint:
        assert checkpoint.tensors["conv"].shape == (6, 7, 1, 1)
        assert read(checkpoint, "conv", 10, 50) == ARRAYS["other"].tobytes()[10:50]


def test_marker_is_an_empty_tensor(base):
    with AssembledCheckpoint(base, {"v_pred": Assembly((), (0,))}) as checkpoint:
        entry = checkpoint.tensors["v_pred"]
        assert (entry.dtype, entry.shape, entry.nbytes) == (Dtype.F32, (0,), 0)
        assert read(checkpoint, "v_pred") == b""


def test_entries_lie_one_after_the_other_in_the_order_given(base):
    assemblies = {
        "z": Assembly(("other",), (6, 7)),
        "a": PACKED,
        "m": Assembly((), (0,)),
        "b": Assembly(("row",), (4,)),
    }
    with AssembledCheckpoint(base, assemblies) as checkpoint:
        places = [(e.name, e.begin, e.end) for e in checkpoint.tensors.values()]

    assert places == [("z", 0, 84), ("a", 84, 174), ("m", 174, 174), ("b", 174, 182)]


def test_everything_else_is_that_of_the_base(base):
    with AssembledCheckpoint(base, {"qkv": PACKED}) as checkpoint:
        assert checkpoint.path == base.path
        assert checkpoint.files == (base.path,)
        assert checkpoint.nbytes == base.path.stat().st_size
        assert dict(checkpoint.metadata) == {"k": "v"}
        assert checkpoint.warnings == ()


CODES = {
    TensorMismatchError: "assembly-part",
    DtypeError: "assembly-dtype",
    ShapeError: "assembly-shape",
}


@pytest.mark.parametrize(
    ("assembly", "kind"),
    [
        (Assembly(("q", "missing"), (5, 5)), TensorMismatchError),
        (Assembly(("q", "k"), (6, 5)), ShapeError),
        (Assembly(("q", "other"), (9, 5)), ShapeError),
        (Assembly(("q", "row"), (7, 5)), ShapeError),
        (Assembly(("one", "one"), (0,)), ShapeError),
        (Assembly(("q", "k"), ()), ShapeError),
        (Assembly(("q", "wide"), (43, 5)), DtypeError),
        (Assembly(("q",), (3, 5), transposed=True), ShapeError),
        (Assembly(("row",), (4,), transposed=True), ShapeError),
        (Assembly(("q", "k"), (5, 5), transposed=True), ShapeError),
        (Assembly(("other",), (6, 7, 1, 2)), ShapeError),
        (Assembly((), (1,)), ShapeError),
    ],
)
def test_parts_that_do_not_fit_are_refused_and_the_base_is_closed(base, assembly, kind):
    descriptor = Path(f"/proc/self/fd/{base.file.fileno()}")

    with pytest.raises(CheckpointError) as caught:
        AssembledCheckpoint(base, {"x": assembly})

    assert type(caught.value) is kind
    assert caught.value.code == CODES[kind]
    assert str(base.path) in str(caught.value)
    assert not descriptor.exists()


@pytest.mark.parametrize(("begin", "end"), [(-1, 1), (0, 91), (90, 91), (100, 101)])
@pytest.mark.parametrize("name", ["qkv", "t"])
def test_range_that_leaves_the_tensor_is_the_callers_mistake(base, name, begin, end):
    assemblies = {"qkv": PACKED, "t": Assembly(("q",), (5, 3), transposed=True)}

    with (
        AssembledCheckpoint(base, assemblies) as checkpoint,
        pytest.raises(ValueError, match=name),
    ):
        read(checkpoint, name, begin, end)


def test_elements_of_four_bits_are_not_transposed(tmp_path):
    header = b'{"x":{"dtype":"F4","shape":[2,4],"data_offsets":[0,4]}}'
    path = tmp_path / "f4.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"1234")

    with pytest.raises(DtypeError) as caught:
        AssembledCheckpoint(
            SafetensorsCheckpoint(path), {"t": Assembly(("x",), (4, 2), True)}
        )

    assert caught.value.code == "assembly-dtype"


def transposed(folder, rows):
    """A matrix of `rows` times 16 KiB, all hole, seen transposed."""
    nbytes = rows * 4096 * 4
    entry = {"dtype": "F32", "shape": [rows, 4096], "data_offsets": [0, nbytes]}
    header = json.dumps({"x": entry}).encode()
    path = folder / "large.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(path, 8 + len(header) + nbytes)
    assembly = Assembly(("x",), (4096, rows), transposed=True)
    return AssembledCheckpoint(SafetensorsCheckpoint(path), {"t": assembly})


def test_matrix_of_64_mib_is_transposed(tmp_path):
    with transposed(tmp_path, 4096) as checkpoint:
        assert checkpoint.tensors["t"].nbytes == 64 * 2**20


def test_larger_matrix_is_not_taken_into_memory(tmp_path):
    with pytest.raises(ShapeError) as caught:
        transposed(tmp_path, 4097)

    assert caught.value.code == "assembly-size"
    assert "t holds 67,125,248 bytes" in str(caught.value)
    assert "at most 67,108,864" in str(caught.value)
