"""Thresholds: how they are written, what they mean, and which of them counts."""

import numpy as np
import pytest

from release.architecture.contents import Part
from release.errors import UsageError
from release.parity.report import Outcome
from release.parity.tolerance import Measure, Tolerance, Tolerances, parse_tolerance

UNET, VAE = "model.diffusion_model.out.0.bias", "first_stage_model.quant_conv.bias"


@pytest.fixture
def apart(write):
    """Two files whose tensors are about 40 dB apart in the U-Net, 20 dB in the VAE."""
    values = np.random.default_rng(1).standard_normal(1000).astype(np.float32)

    def tensors(unet, vae):
        return {
            UNET: ("F32", (1000,), (values * unet).tobytes()),
            VAE: ("F32", (1000,), (values * vae).tobytes()),
            "ids": ("I64", (2,), np.arange(2).tobytes()),
        }

    one, other = np.float32(1), (np.float32(1.01), np.float32(1.1))
    return write("a", tensors(one, one)), write("b", tensors(*other))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("snr=30", Tolerance(Measure.SNR, 30.0)),
        ("max-abs=1e-3", Tolerance(Measure.MAX_ABS, 0.001)),
        ("cosine=0.999", Tolerance(Measure.COSINE, 0.999)),
        ("ulp=2", Tolerance(Measure.ULP, 2.0)),
        ("unet:snr=-1.5", Tolerance(Measure.SNR, -1.5, Part.UNET)),
        ("clip_g:ulp=0", Tolerance(Measure.ULP, 0.0, Part.CLIP_G)),
    ],
)
def test_thresholds_are_read(text, expected):
    assert parse_tolerance(text) == expected
    assert parse_tolerance(expected.text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "snr",
        "snr=",
        "=3",
        "snr=x",
        "snr=nan",
        "snr=inf",
        "psnr=3",
        "SNR=3",
        ":snr=3",
        "unet:=3",
        "nothing:snr=3",
        "unet:vae:snr=3",
        "ulp=-1",
        "max-abs=-0.1",
        "max-abs=inf",
        "cosine=1.1",
        "snr=3\x1b[2J",
    ],
)
def test_what_is_no_threshold_is_refused(text):
    with pytest.raises(UsageError) as caught:
        parse_tolerance(text)

    assert caught.value.code == "tolerance"
    assert "\x1b" not in str(caught.value)
    assert "snr=30" in caught.value.hint


def test_measure_given_twice_is_refused_unless_for_another_component():
    given = [parse_tolerance(each) for each in ("snr=3", "unet:snr=2", "ulp=1")]
    assert Tolerances(given).texts == ("snr=3", "unet:snr=2", "ulp=1")

    with pytest.raises(UsageError) as caught:
        Tolerances([*given, parse_tolerance("unet:snr=1")])
    assert "given twice" in str(caught.value)


@pytest.mark.parametrize(
    ("tolerances", "failed"),
    [
        ([], [VAE, UNET]),
        (["snr=19"], []),
        (["snr=21"], [VAE]),
        (["snr=41"], [VAE, UNET]),
        (["snr=21", "vae:snr=19"], []),
        (["snr=19", "unet:snr=41"], [UNET]),
        (["unet:snr=39"], [VAE]),
        (["snr=19", "vae:max-abs=0.1"], [VAE]),
        (["snr=19", "max-abs=0.5"], []),
        (["cosine=0.999999"], []),
        (["ulp=2000000"], []),
        (["ulp=5"], [VAE, UNET]),
    ],
)
def test_tensor_passes_if_it_meets_every_threshold_of_its_component(
    apart, compared, tolerances, failed
):
    report = compared(*apart, *tolerances)

    assert [each.name for each in report.failed] == failed
    assert report.outcome is (Outcome.DIFFERS if failed else Outcome.WITHIN)


def test_reason_says_figure_and_threshold(apart, compared):
    worst = compared(*apart, "snr=30", "max-abs=0.001").failed[0]

    assert worst.misses[0] == "SNR 20 dB is below 30"
    assert worst.misses[1].startswith("max-abs 0.3")
    assert worst.misses[1].endswith(" is above 0.001")


def test_threshold_takes_the_place_of_equal_after_rounding(one, rounding):
    values = np.random.default_rng(2).standard_normal(2000) * 0.003
    data = rounding.bits(values, "F16"), rounding.bits(values, "F8_E4M3")
    pair = ("F16", data[0]), ("F8_E4M3", data[1])

    assert one(*pair).misses == ()
    assert one(*pair, "ulp=0").misses == ()
    assert one(*pair, "snr=10").misses == ()
    assert one(*pair, "snr=25").misses[0].endswith(" dB is below 25")


def test_every_dtype_has_figures_of_its_own(write, compared, rounding):
    values = np.random.default_rng(3).standard_normal(1000)
    wide = rounding.bits(values, "F32")
    first = {UNET: ("F32", (1000,), wide), f"{UNET}2": ("F32", (1000,), wide)}
    second = {
        UNET: ("F16", (1000,), rounding.bits(values, "F16")),
        f"{UNET}2": ("F8_E4M3", (1000,), rounding.bits(values, "F8_E4M3")),
    }

    group = compared(write("a", first), write("b", second)).by_part[Part.UNET]

    snrs = {storage: found.snr for storage, found in group.differing.items()}
    assert snrs == {
        "F32 / F16": pytest.approx(73.8, abs=1),
        "F32 / F8_E4M3": pytest.approx(31.6, abs=0.5),
    }
    assert group.snr == snrs["F32 / F8_E4M3"]


def test_thresholds_are_of_floats_only(one):
    ids = ("I64", np.arange(5).tobytes())
    other = ("I64", np.arange(1, 6).tobytes())

    found = one(ids, other, "snr=-100", "max-abs=100", "ulp=100")

    assert found.misses == ("5 of 5 values differ",)
