"""`krelease parity` as it is typed."""

import json
import shutil

import numpy as np
import pytest

UNET = "model.diffusion_model."


@pytest.fixture
def damaged(converted, tmp_path):
    """The fp8 file with one bit of its last tensor flipped."""
    path = tmp_path / "damaged.safetensors"
    data = bytearray(converted["fp8"].read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    return path


def test_verdict_comes_first_then_figures_then_the_worst(
    krelease, ingredients, converted
):
    code, out, err = krelease("parity", ingredients["beta7"], converted["fp8"])

    lines = out.splitlines()
    assert code == 0
    assert lines[0] == (
        "B is A rounded to F8_E4M3: 1,347 equal, 1,168 rounded of 2,515 tensors"
    )
    assert lines[1].split()[0] == "A"
    assert str(ingredients["beta7"]) in lines[1]
    assert lines[4].split()[0] == "tensors"
    assert [line.split()[0] for line in lines[5:10]] == [
        "unet",
        "clip_l",
        "clip_g",
        "vae",
        "total",
    ]
    assert lines[10:12] == ["", "worst"]
    assert len(lines) == 17
    assert "F16 / F8_E4M3" in lines[12]
    assert "compare: " in err


def test_identical_files_are_called_so_in_one_sentence(krelease, ingredients, tmp_path):
    copy = shutil.copy(ingredients["beta7"], tmp_path / "copy.safetensors")

    code, out, _ = krelease("parity", ingredients["beta7"], copy)

    assert code == 0
    first = "identical: 2,515 tensors have the same bits"
    assert out.splitlines()[0] == first
    assert "worst" not in out


def test_difference_is_a_result_and_an_error(krelease, ingredients, damaged):
    code, out, err = krelease("parity", ingredients["beta7"], damaged)

    assert code == 6
    assert out.startswith("B differs from A: 1 of 2,515 tensors\n")
    error, hint = err.splitlines()[-2:]
    assert error.startswith(f"error: {damaged} differs from {ingredients['beta7']}: ")
    assert "1 of 2,515 tensors, the worst " in error
    assert hint == (
        "hint: two variants of one merge can differ so; --tolerance ulp=1 accepts it,"
        " audit tells"
    )


def test_quiet_prints_names_of_what_fails_only(krelease, ingredients, damaged):
    data = damaged.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    last = max(
        (name for name in header if name != "__metadata__"),
        key=lambda name: header[name]["data_offsets"][1],
    )

    _, bad, err = krelease("parity", ingredients["beta7"], damaged, "-q")
    code, good, _ = krelease("parity", damaged, damaged, "-q")

    assert bad == f"{last}\n"
    assert err.startswith("error: ")
    assert (code, good) == (0, "")


def test_document_has_everything_and_no_number_that_is_not_json(
    krelease, ingredients, damaged
):
    code, out, _ = krelease(
        "parity", ingredients["beta7"], damaged, "--json", "--tolerance=snr=-90"
    )

    document = json.loads(out, parse_constant=pytest.fail)
    assert code == 0
    assert document["schema"] == "krelease.parity/1"
    assert document["verdict"] == "within tolerance"
    assert document["tolerances"] == ["snr=-90"]
    assert len(document["tensors"]) == 2515
    equal = next(each for each in document["tensors"] if each["verdict"] == "equal")
    assert equal["block"]
    assert equal["component"] in {"unet", "clip_l", "clip_g", "vae"}
    counts = document["total"]["verdicts"]
    assert sum(counts.values()) == 2515
    assert counts["differs"] == 1


def test_what_is_ignored_is_said(krelease, write):
    half = np.ones(2, "<f2").tobytes()
    first = write("a", {"w": ("F16", (2,), half), "x": ("F16", (2,), half)})
    second = write("b", {"w": ("F16", (2,), half)})

    code, out, _ = krelease("parity", first, second, "--ignore-missing")
    failed, _, err = krelease("parity", first, second)

    assert (code, failed) == (0, 6)
    assert out.startswith(
        "same values in 1 tensor (1 that only one of them has are ignored)\n"
    )
    assert "only in A, 1: x" in out
    assert "1 tensor only in A: x" in err
    assert "hint: pass --ignore-missing" in err


def test_hostile_names_are_shown_harmlessly(krelease, write):
    name = "x\x1b[2J\n\u202e"
    first = write("a", {name: ("F16", (1,), b"\0\0")})
    second = write("b", {name: ("F16", (1,), b"\1\0")})

    _, out, err = krelease("parity", first, second)

    assert "\x1b" not in out + err
    assert "\u202e" not in out + err
    assert "x\\u001b[2J\\u000a\\u202e" in out


@pytest.mark.parametrize(
    ("options", "exit_code", "code"),
    [
        (["--tolerance", "snr"], 2, "tolerance"),
        (["--tolerance", "snr=1", "--tolerance", "snr=2"], 2, "tolerance"),
        (["--plot", "p.gif"], 2, "plot-format"),
        (["--plot", "none/p.svg"], 9, "no-directory"),
        (["--threads", "0"], 2, "usage"),
        (["--ema", "both"], 2, "usage"),
    ],
)
def test_bad_options_are_refused_before_anything_is_read(
    krelease, tmp_path, options, exit_code, code
):
    none = tmp_path / "none"

    found, out, _ = krelease("parity", none, none, *options, "--json")

    assert (found, json.loads(out)["code"]) == (exit_code, code)


def test_missing_and_broken_files_are_refused(krelease, ingredients, tmp_path):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(ingredients["beta7"].read_bytes()[:-5])

    missing, _, _ = krelease("parity", ingredients["beta7"], tmp_path / "none")
    code, _, err = krelease("parity", cut, ingredients["beta7"])

    assert (missing, code) == (4, 4)
    assert "cut.safetensors" in err


def test_plot_is_written_also_when_the_files_differ(
    krelease, ingredients, damaged, tmp_path
):
    path = tmp_path / "p.svg"

    code, _, err = krelease("parity", ingredients["beta7"], damaged, "--plot", path)
    again, _, refusal = krelease("parity", damaged, damaged, "--plot", path)

    assert code == 6
    assert f"plot: {path}" in err
    assert path.read_text().startswith("<?xml")
    assert again == 9
    assert "--force" in refusal


def test_what_was_found_names_the_side_that_it_is_about(krelease, write):
    half = np.ones(2, "<f2").tobytes()
    model = {f"{UNET}out.bias": ("F16", (2,), half)}
    averages = {"model_ema.diffusion_modeloutbias": ("F16", (2,), half)}
    first, second = write("a", model), write("b", {**model, **averages})

    code, out, err = krelease("parity", first, second, "--ema=drop")
    failed, _, refusal = krelease("parity", first, second)

    assert (code, failed) == (0, 6)
    assert out.startswith("identical: 1 tensor has the same bits\n")
    assert "B: EMA weights dropped: 1 tensors" in err
    assert "--ema drop" in refusal


@pytest.mark.parametrize(
    ("steps", "dtype", "is_said"),
    [(1, "F8_E4M3", True), (2, "F8_E4M3", False), (1, "F16", False)],
)
def test_two_roundings_of_one_result_are_said_to_differ_by_a_step(
    krelease, write, steps, dtype, is_said
):
    """1.0624 is nearest to 1 in fp8 (0x38); its neighbour is 1.125 (0x39)."""
    half = np.array([1.0624, 2.0], np.float16)
    other = bytes([0x38 + steps, 0x40])
    if dtype == "F16":
        other = (half.view(np.uint16) + np.uint16(steps)).tobytes()
    first = write("a", {"w": ("F16", (2,), half.tobytes())})
    second = write("b", {"w": (dtype, (2,), other)})

    code, out, err = krelease("parity", first, second)
    tolerated, _, _ = krelease("parity", first, second, "--tolerance=ulp=1")

    assert code == 6
    assert ("two roundings of one exact result" in out) is is_said
    assert ("two variants of one merge" in err) is is_said
    assert tolerated == (6 if steps > 1 else 0)
