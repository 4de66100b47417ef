"""Is this file really made from that one? Rounding is done by numpy and by tables."""

import json

import numpy as np
import pytest

from release.parity.report import Outcome, Verdict

PAIRS = [
    ("F64", "F32"),
    ("F64", "F16"),
    ("F64", "BF16"),
    ("F64", "F8_E4M3"),
    ("F32", "F16"),
    ("F32", "BF16"),
    ("F32", "F8_E4M3"),
    ("F32", "F8_E5M2"),
    ("F16", "BF16"),
    ("BF16", "F16"),
    ("F16", "F8_E4M3"),
    ("BF16", "F8_E4M3"),
    ("F8_E4M3", "F8_E5M2"),
    ("F8_E5M2", "F8_E4M3"),
]


@pytest.fixture
def pair(rounding):
    """Return values in one dtype, and the same rounded to another by an oracle."""

    def make(fine, coarse, n=4000):
        rng = np.random.default_rng(5)
        values = rng.standard_normal(n) * np.exp2(rng.integers(-18, 4, n))
        data = rounding.bits(values, fine)
        return data, rounding.bits(rounding.values(data, fine), coarse)

    return make


@pytest.mark.parametrize(("fine", "coarse"), PAIRS)
def test_what_was_rounded_is_recognised_from_both_sides(pair, one, fine, coarse):
    data, rounded = pair(fine, coarse)

    found = one((fine, data), (coarse, rounded))
    turned = one((coarse, rounded), (fine, data))

    assert found.verdict is Verdict.B_ROUNDED
    assert turned.verdict is Verdict.A_ROUNDED
    assert found.misses == turned.misses == ()
    assert found.likeness.n_differing > 0


@pytest.mark.parametrize(("fine", "coarse"), PAIRS)
def test_one_step_beside_the_rounded_value_is_found(pair, one, fine, coarse):
    data, rounded = pair(fine, coarse)
    changed = bytearray(rounded)
    place = 1234 * (len(rounded) // 4000)
    changed[place] ^= 1

    found = one((fine, data), (coarse, bytes(changed)))

    assert found.verdict is Verdict.DIFFERS
    assert found.misses[0].startswith("1 of 4,000 values differ, by up to ")
    assert found.likeness.n_beyond_rounding == 1
    assert found.likeness.max_ulp == 1


@pytest.mark.parametrize(
    ("to", "verdict", "n_cast"),
    [
        ("fp8", "B is A rounded", 1168),
        ("fp8-e5m2", "B is A rounded", 1168),
        ("fp8-scaled", "B is A rounded", 743),
        ("bf16", "B is A rounded", 2513),
        ("fp32", "same values", 0),
    ],
)
def test_conversion_of_sdxl_is_what_it_says(
    ingredients, converted, parity, to, verdict, n_cast
):
    code, found = parity(ingredients["beta7"], converted[to])

    assert (code, found["verdict"], found["passed"]) == (0, verdict, True)
    assert found["total"]["verdicts"]["B is A rounded"] == n_cast
    assert found["total"]["verdicts"]["differs"] == 0
    differing = found["total"]["differing"].values()
    assert [each["n_beyond_rounding"] for each in differing] == [0] * bool(n_cast)


def test_fp8_of_another_model_is_no_rounding(ingredients, converted, parity):
    code, found = parity(ingredients["base8"], converted["fp8"])

    assert (code, found["verdict"]) == (6, "differs")
    assert found["total"]["verdicts"]["differs"] > 2000


@pytest.mark.parametrize("preset", ["fp8", "fp8-scaled"])
@pytest.mark.parametrize("seed", range(3))
def test_flipped_bit_is_found_and_named(
    ingredients, converted, parity, tmp_path, seed, preset
):
    path = tmp_path / "flipped.safetensors"
    data = bytearray(converted[preset].read_bytes())
    begin = 8 + int.from_bytes(data[:8], "little")
    rng = np.random.default_rng(seed)
    place = int(rng.integers(begin, len(data)))
    data[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)
    header = json.loads(bytes(data[8:begin]))
    changed = [
        name
        for name, entry in header.items()
        if name != "__metadata__"
        and entry["data_offsets"][0] <= place - begin < entry["data_offsets"][1]
    ]

    code, found = parity(ingredients["beta7"], path)

    assert code == 6
    assert [each["name"] for each in found["tensors"] if not each["passed"]] == changed
    assert len(changed) == 1


def scaled_pair(quantised, code="F32"):
    weight, scale = quantised.fp8(7, 64, 48), quantised.scales(7, code=code)
    tensors = {
        "a.weight": weight,
        "a.weight_scale": scale,
        "a.comfy_quant": quantised.text({"format": "float8_e4m3fn"}),
    }
    return tensors, quantised.product(weight, scale)


def test_scaled_fp8_is_rounded_with_its_scale(quantised, rounding, write, compared):
    rng = np.random.default_rng(8)
    values = (rng.standard_normal((64, 48)) * 0.01).astype(np.float16)
    wide = values.astype(np.float32)
    scale = np.float32(np.abs(wide).max() / 448)
    codes = rounding.bits(wide / scale, "F8_E4M3")
    first = write("a", {"a.weight": ("F16", (64, 48), values.tobytes())})
    marker = quantised.text({"format": "float8_e4m3fn"})
    second = write(
        "b",
        {
            "a.weight": ("F8_E4M3", (64, 48), codes),
            "a.weight_scale": ("F32", (), scale.tobytes()),
            "a.comfy_quant": ("U8", marker.shape, marker.data),
        },
    )

    report = compared(first, second)
    turned = compared(second, first)

    assert report.outcome is Outcome.B_ROUNDED
    assert turned.outcome is Outcome.A_ROUNDED
    assert report.tensors[0].likeness.snr == pytest.approx(31.5, abs=0.3)
    assert report.tensors[0].stored[1].text == "F8_E4M3 scaled"


def test_scaled_fp8_that_became_fp16_is_recognised(
    quantised, tmp_path, write, compared
):
    tensors, product = scaled_pair(quantised)
    first = tmp_path / "scaled.safetensors"
    first.write_bytes(quantised.file_bytes(tensors, {}))
    half = product.astype(np.float16)
    second = write("half", {"a.weight": ("F16", half.shape, half.tobytes())})

    report = compared(first, second)

    assert report.outcome is Outcome.B_ROUNDED
    assert report.tensors[0].likeness.max_abs > 0


def test_same_codes_with_another_scale_are_other_values(quantised, tmp_path, compared):
    tensors, _ = scaled_pair(quantised)
    other = {**tensors, "a.weight_scale": quantised.scale_of(0.5)}
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    paths[0].write_bytes(quantised.file_bytes(tensors, {}))
    paths[1].write_bytes(quantised.file_bytes(other, {}))

    report = compared(*paths)

    assert report.outcome is Outcome.DIFFERS
    assert report.markers == ("a.weight_scale",)


def test_same_weights_with_another_marker_are_not_called_identical(
    quantised, tmp_path, compared
):
    tensors, _ = scaled_pair(quantised)
    entry = {"format": "float8_e4m3fn", "full_precision_matrix_mult": True}
    other = {**tensors, "a.comfy_quant": quantised.text(entry)}
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    paths[0].write_bytes(quantised.file_bytes(tensors, {}))
    paths[1].write_bytes(quantised.file_bytes(other, {}))

    report = compared(*paths)

    assert report.outcome is Outcome.SAME_VALUES
    assert report.markers == ("a.comfy_quant",)


def test_rounded_in_both_directions_is_still_equal_after_rounding(
    pair, write, compared
):
    wide, narrow = pair("F32", "F16")
    first = write("a", {"x": ("F32", (4000,), wide), "y": ("F16", (4000,), narrow)})
    second = write("b", {"x": ("F16", (4000,), narrow), "y": ("F32", (4000,), wide)})

    assert compared(first, second).outcome is Outcome.ROUNDED
