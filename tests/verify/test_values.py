"""What values say, against torch's and numpy's own opinion of them."""

import struct

import numpy as np
import pytest
import safetensors.torch
import torch

from release.formats.checkpoint import SafetensorsCheckpoint
from release.numeric.dtype import Dtype
from release.verify.examine import Examination, Wants, read_all
from release.verify.values import TensorValues, findings_of, position_findings

TORCH = {
    Dtype.F8_E4M3: (torch.float8_e4m3fn, torch.uint8),
    Dtype.F8_E5M2: (torch.float8_e5m2, torch.uint8),
    Dtype.F16: (torch.float16, torch.uint16),
    Dtype.BF16: (torch.bfloat16, torch.uint16),
    Dtype.F32: (torch.float32, torch.uint32),
    Dtype.F64: (torch.float64, torch.uint64),
}
SMALL = [Dtype.F8_E4M3, Dtype.F8_E5M2, Dtype.F16, Dtype.BF16]


def counts(values):
    return values.n_nan, values.n_infinite, values.is_zero


def seen(dtype, data, step=None):
    values = TensorValues(dtype)
    for at in range(0, len(data), step or len(data)):
        values.update(data[at : at + (step or len(data))])
    return counts(values)


def truth(dtype, data):
    """The same by torch, which knows all of these dtypes."""
    floats = torch.frombuffer(bytearray(data), dtype=TORCH[dtype][0]).double()
    return (
        int(floats.isnan().sum()),
        int(floats.isinf().sum()),
        bool((floats == 0).all()),
    )


@pytest.mark.parametrize("dtype", SMALL)
def test_every_pattern_of_small_dtypes_is_told_as_torch_tells_it(dtype):
    nbytes = dtype.bits // 8
    patterns = [at.to_bytes(nbytes, "little") for at in range(2**dtype.bits)]

    found = [seen(dtype, pattern) for pattern in patterns]

    floats = torch.frombuffer(
        bytearray(b"".join(patterns)), dtype=TORCH[dtype][0]
    ).double()
    columns = floats.isnan().int(), floats.isinf().int(), floats == 0
    assert found == list(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize("dtype", TORCH)
@pytest.mark.parametrize("step", [None, 3, 4096, 1_000_001])
def test_random_bits_are_counted_as_torch_counts_them(dtype, step):
    data = np.random.default_rng(3).bytes(40_000)

    assert seen(dtype, data, step) == truth(dtype, data)


EDGES = {
    "largest": (struct.pack("<f", 3.4028234663852886e38), (0, 0, False)),
    "infinity": (struct.pack("<f", float("inf")), (0, 1, False)),
    "minus infinity": (struct.pack("<f", float("-inf")), (0, 1, False)),
    "first NaN": (struct.pack("<L", 0x7F800001), (1, 0, False)),
    "last NaN": (struct.pack("<L", 0xFFFFFFFF), (1, 0, False)),
    "zero": (struct.pack("<f", 0.0), (0, 0, True)),
    "minus zero": (struct.pack("<f", -0.0), (0, 0, True)),
    "both zeros": (struct.pack("<2f", 0.0, -0.0), (0, 0, True)),
    "least": (struct.pack("<L", 1), (0, 0, False)),
    "minus least": (struct.pack("<L", 0x80000001), (0, 0, False)),
}


@pytest.mark.parametrize("case", EDGES)
def test_edges_of_float32_are_told_apart(case):
    data, expected = EDGES[case]

    assert seen(Dtype.F32, data) == expected


def test_one_value_among_a_million_is_found_wherever_it_lies():
    floats = np.ones(2**20 + 7, np.float16)
    floats[2**19 - 1 : 2**19 + 1] = np.nan, -np.inf

    assert seen(Dtype.F16, floats.tobytes(), 2**20) == (1, 1, False)


@pytest.mark.parametrize("dtype", [Dtype.I64, Dtype.U8, Dtype.BOOL])
def test_integers_are_never_anything(dtype):
    assert seen(dtype, b"\xff" * 64) == (0, 0, True)


WEIGHT = "model.diffusion_model.out.2.weight"
BIAS = "model.diffusion_model.out.2.bias"


def findings(path, tensors, threads=2):
    safetensors.torch.save_file(tensors, path)
    return read_for_values(path, threads)


def read_for_values(path, threads, advance=lambda _: None):
    with Examination(path, is_checkpoint=True) as examined:
        work = [(examined, Wants(values=True))]
        read_all(work, threads=threads, advance=advance)
        checkpoint = SafetensorsCheckpoint(examined.file, header=examined.header)
        return (
            *findings_of(examined.values, examined.header.tensors),
            *position_findings(checkpoint),
        )


def brief(found):
    return [(each.code, each.severity, each.tensors) for each in found]


def holding(value, *places, shape=(16, 16)):
    tensor = torch.ones(shape)
    for place in places:
        tensor.view(-1)[place] = value
    return tensor


IDS = "conditioner.embedders.0.transformer.text_model.embeddings.position_ids"
SCHEDULE = "sqrt_recip_alphas_cumprod"

CASES = {
    "sound": ({WEIGHT: torch.ones(4, 4)}, []),
    "NaN": ({WEIGHT: holding(torch.nan, 5)}, [("nan", "error", (WEIGHT,))]),
    "infinity in fp8": (
        {WEIGHT: holding(torch.inf, 0).to(torch.float8_e5m2)},
        [("infinity", "error", (WEIGHT,))],
    ),
    "NaN in bf16": (
        {WEIGHT: holding(torch.nan, 255).bfloat16()},
        [("nan", "error", (WEIGHT,))],
    ),
    "infinity in a schedule": (
        {SCHEDULE: holding(torch.inf, 9)},
        [("infinite-schedule", "note", (SCHEDULE,))],
    ),
    "zero weight": (
        {WEIGHT: torch.zeros(4, 4, 3, 3)},
        [("all-zero-weights", "warning", (WEIGHT,))],
    ),
    "zero bias": ({BIAS: torch.zeros(8)}, [("all-zero-vectors", "note", (BIAS,))]),
    "zero row": (
        {WEIGHT: torch.zeros(1, 8, 1, 1)},
        [("all-zero-vectors", "note", (WEIGHT,))],
    ),
    "zero number": (
        {"alpha": torch.zeros(())},
        [("all-zero-vectors", "note", ("alpha",))],
    ),
    "empty marker": ({"v_pred": torch.zeros(0)}, []),
    "zero integers": ({"steps": torch.zeros(4, 4, dtype=torch.int32)}, []),
    "positions": ({IDS: torch.arange(77)[None]}, []),
    "positions that were merged": (
        {IDS: (torch.arange(77.0) * 0.999)[None].half()},
        [("position-ids", "error", (IDS,))],
    ),
    "positions that are zero": (
        {IDS: torch.zeros(1, 77, dtype=torch.int64)},
        [("position-ids", "error", (IDS,))],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_file_holds_is_told(tmp_path, case):
    tensors, expected = CASES[case]

    assert brief(findings(tmp_path / "m.safetensors", tensors)) == expected


def test_counts_and_first_tensors_are_named(tmp_path):
    tensors = {f"w{at:02}": holding(torch.nan, 1, 2) for at in range(12)}

    (found,) = findings(tmp_path / "m.safetensors", tensors)

    assert found.text == (
        "24 values are NaN, in 12 tensors: w00, w01, w02, w03, w04 and 7 more"
    )
    assert found.tensors == tuple(tensors)


def test_hostile_names_are_shown_harmlessly(tmp_path):
    tensors = {"a\x1b[2Jb": holding(torch.nan, 0), "z\n.position_ids": torch.zeros(3)}

    found = findings(tmp_path / "m.safetensors", tensors)

    assert len(found) == 3
    assert all(each.text.isprintable() for each in found)


@pytest.mark.parametrize("threads", [1, 5])
def test_true_checkpoint_has_nothing_odd_and_is_read_once(release_folder, threads):
    path = release_folder / "kohaku-xl-gamma-rev2-fp8.safetensors"
    steps = []

    found = read_for_values(path, threads, steps.append)
    with SafetensorsCheckpoint(path) as checkpoint:
        nbytes = checkpoint.nbytes - checkpoint.data_begin

    assert found == ()
    assert sum(steps) == nbytes


def test_fault_across_blocks_of_a_large_tensor_is_found(tmp_path):
    tensor = torch.ones(3 * 2**20 // 8 + 5, 2)
    tensor.view(-1)[[0, 2**18 - 1, 2**18, -1]] = torch.nan

    (found,) = findings(tmp_path / "m.safetensors", {"w": tensor}, threads=3)

    assert found.text.startswith("4 values are NaN")
