"""What a conversion is said to have cost, against numpy, and what follows from it."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from release.convert.record import ConversionRecord

UNET = "model.diffusion_model."
NAMES = {
    "matrix": f"{UNET}middle_block.1.proj_in.weight",
    "conv": f"{UNET}input_blocks.0.0.weight",
    "small": f"{UNET}output_blocks.0.1.proj_in.weight",
    "norm": f"{UNET}out.0.weight",
    "vae": "first_stage_model.decoder.conv_in.weight",
    "text": "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.bias",
}


@pytest.fixture
def lossy(save):
    """Values that fp8 clamps, flushes and rounds, in F32, over several chunks."""
    rng = np.random.default_rng(4)
    matrix = rng.standard_normal((601, 900)) * 0.02
    matrix[::97, ::89] = 500.0
    matrix[5, 5:9] = [-1e4, 460.0, 448.0, -465.0]
    conv = rng.standard_normal((16, 4, 3, 3)) * 0.05
    conv[0, 0, 0] = [0.0, -0.0, 2.0**-10]
    arrays = {
        NAMES["matrix"]: matrix,
        NAMES["conv"]: conv,
        NAMES["small"]: rng.standard_normal((40, 50)) * 0.002,
        NAMES["norm"]: 1 + rng.standard_normal(16) * 0.1,
        NAMES["vae"]: rng.standard_normal((4, 4, 3, 3)) * 0.1,
        NAMES["text"]: rng.standard_normal(8) * 0.1,
    }
    exact = {name: array.astype(np.float32) for name, array in arrays.items()}
    return save({name: torch.from_numpy(array) for name, array in exact.items()}), exact


@pytest.fixture
def fp8(quantised):
    """Round to fp8 by the table of its values: nearest, ties to even, clamped."""

    def rounded(array: np.ndarray, code: str) -> np.ndarray:
        table = quantised.decoded(code)[:128].astype(np.float64)
        table = table[np.isfinite(table)]
        middles = (table[:-1] + table[1:]) / 2
        magnitude = np.abs(array.astype(np.float64))
        found = np.searchsorted(middles, magnitude)
        is_tie = (found < len(middles)) & (
            middles[np.minimum(found, len(middles) - 1)] == magnitude
        )
        found += is_tie & (found % 2 == 1)
        return np.copysign(table[found], array).astype(np.float32)

    return rounded


def bf16(array: np.ndarray) -> np.ndarray:
    bits = array.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32)


def expected(preset, exact, fp8):
    """Return what each tensor becomes, and the finite limit of what is not scaled."""

    def scaled(array):
        scale = np.float32(float(np.abs(array).max()) / 448)
        return fp8(array / scale, "F8_E4M3") * scale

    def half(array):
        return array.astype(np.float16).astype(np.float32)

    in_unet = (NAMES["matrix"], NAMES["conv"], NAMES["small"])
    of = dict.fromkeys(exact, half)
    match preset:
        case "bf16":
            of = dict.fromkeys(exact, bf16)
        case "fp8":
            of |= dict.fromkeys(in_unet, lambda array: fp8(array, "F8_E4M3"))
        case "fp8-e5m2":
            of |= dict.fromkeys(in_unet, lambda array: fp8(array, "F8_E5M2"))
        case "fp8-scaled":
            of |= {NAMES["matrix"]: scaled, NAMES["small"]: scaled}
    return {name: of[name](array) for name, array in exact.items()}


def figures(exact, found, limit):
    """Return what should be said of some tensors."""
    pairs = [(exact[name].astype(float), found[name].astype(float)) for name in found]
    signal = sum(float((x**2).sum()) for x, _ in pairs)
    noise = sum(float(((x - y) ** 2).sum()) for x, y in pairs)
    return {
        "n_tensors": len(found),
        "n_elements": sum(x.size for x, _ in pairs),
        "snr": math.inf if noise == 0 else 10 * math.log10(signal / noise),
        "max": max(float(np.abs(x - y).max()) for x, y in pairs),
        "flushed": sum(int(((x != 0) & (y == 0)).sum()) for x, y in pairs),
        "clamped": sum(int((np.abs(x) > limit).sum()) for x, _ in pairs),
    }


def assert_figures(said, wanted):
    assert said["n_tensors"] == wanted["n_tensors"]
    assert said["n_elements"] == wanted["n_elements"]
    assert float(said["snr_db"]) == pytest.approx(wanted["snr"], abs=0.011)
    assert float(said["max_abs_error"]) == pytest.approx(wanted["max"], rel=6e-4)
    assert said["flushed"] == wanted["flushed"]
    assert said["clamped"] == wanted["clamped"]


CASES = {
    # the limit of values that are not scaled; the coarsest dtype, its usual SNR, and
    # the tensors that become it
    "bf16": (math.inf, "BF16", 55.7, tuple(NAMES)),
    "fp8": (448.0, "F8_E4M3", 31.6, ("matrix", "conv", "small")),
    "fp8-e5m2": (57344.0, "F8_E5M2", 25.6, ("matrix", "conv", "small")),
    "fp8-scaled": (math.inf, "F8_E4M3", 31.6, ("matrix", "small")),
}


@pytest.mark.parametrize("preset", CASES)
def test_figures_of_the_coarsest_dtype_are_numpys(convert, lossy, fp8, preset):
    path, exact = lossy
    limit, code, typical, keys = CASES[preset]
    found = expected(preset, exact, fp8)
    coarse = {NAMES[key]: found[NAMES[key]] for key in keys}
    in_unet = {name: coarse[name] for name in coarse if name.startswith(UNET)}

    said = convert(path, f"--to={preset}").variant(preset)

    total, unet = (
        each["cast"][code] for each in (said["total"], said["components"]["unet"])
    )
    assert_figures(total, figures(exact, coarse, limit))
    assert_figures(unet, figures(exact, in_unet, limit))
    assert unet["typical_db"] == pytest.approx(typical, abs=0.1)


@pytest.mark.parametrize("preset", ["fp8", "fp8-e5m2", "fp8-scaled"])
def test_figures_of_the_finer_dtype_stand_for_themselves(convert, lossy, fp8, preset):
    path, exact = lossy
    coarse = {NAMES[key] for key in CASES[preset][3]}
    found = expected(preset, exact, fp8)
    fine = {name: found[name] for name in found if name not in coarse}
    vae = {NAMES["vae"]: found[NAMES["vae"]]}

    said = convert(path, f"--to={preset}").variant(preset)

    assert_figures(said["total"]["cast"]["F16"], figures(exact, fine, math.inf))
    assert_figures(
        said["components"]["vae"]["cast"]["F16"], figures(exact, vae, math.inf)
    )
    assert list(said["total"]["cast"])[-1] == "F16"


@pytest.mark.parametrize("preset", CASES)
def test_worst_tensors_are_told_in_order_with_their_figures(
    convert, lossy, fp8, preset
):
    path, exact = lossy
    limit = CASES[preset][0]
    found = expected(preset, exact, fp8)
    single = {
        name: figures(exact, {name: array}, limit) for name, array in found.items()
    }
    order = sorted(found, key=lambda name: single[name]["snr"])

    worst = convert(path, f"--to={preset}").variant(preset)["worst"]

    assert [each["name"] for each in worst] == order[:5]
    for each in worst:
        assert_figures(each, single[each["name"]])
        matrices = (NAMES["matrix"], NAMES["small"])
        assert each["scaled"] == (preset == "fp8-scaled" and each["name"] in matrices)


def test_what_is_only_copied_is_no_part_of_the_figures(convert, lossy, fp8):
    path, _ = lossy
    half = convert(path, "--to=fp16").path("fp16")
    source = {
        name: tensor.float().numpy()
        for name, tensor in safetensors.torch.load_file(half).items()
    }
    found = expected("fp8", source, fp8)
    in_unet = [NAMES[key] for key in ("matrix", "conv", "small")]
    cast = {name: found[name] for name in in_unet}

    said = convert(half, "--to=fp8").variant("fp8")

    assert said["total"]["cast"].keys() == {"F8_E4M3"}
    assert_figures(said["total"]["cast"]["F8_E4M3"], figures(source, cast, 448.0))
    vae = said["components"]["vae"]
    assert vae["cast"] == {}
    assert vae["nbytes_before"] == vae["nbytes_after"] == 2 * 4 * 4 * 9


def test_fp8_clamps_and_flushes_as_counted(convert, lossy):
    unet = convert(lossy[0], "--to=fp8").variant("fp8")["components"]["unet"]

    said = unet["cast"]["F8_E4M3"]
    assert said["clamped"] == 7 * 11 + 3
    assert said["flushed"] > 1000


def test_bytes_before_and_after_are_those_of_the_files(convert, lossy, workplace):
    path, exact = lossy

    done = convert(path, "--to=fp8", "--to=fp8-scaled")

    for name in ("fp8", "fp8-scaled"):
        total = done.variant(name)["total"]
        tensors = safetensors.torch.load_file(done.path(name))
        assert total["nbytes_before"] == sum(array.nbytes for array in exact.values())
        assert total["nbytes_after"] == sum(t.nbytes for t in tensors.values())
        parts = done.variant(name)["components"].values()
        assert total["nbytes_after"] == sum(part["nbytes_after"] for part in parts)


def test_scales_count_among_the_bytes_before(convert, lossy):
    first = convert(lossy[0], "--to=fp8-scaled", "--out=a").path("fp8-scaled")
    scales = 2 * 4

    done = convert(first, "--to=fp16").variant("fp16")["total"]

    stored = safetensors.torch.load_file(first)
    markers = [name for name in stored if name.endswith(".comfy_quant")]
    nbytes = sum(stored[name].nbytes for name in stored if name not in markers)
    assert len(markers) == 2
    assert done["nbytes_before"] == nbytes
    assert scales < nbytes


def numbers(value):
    """Yield every number of a document."""
    if isinstance(value, dict):
        for each in value.values():
            yield from numbers(each)
    elif isinstance(value, list):
        for each in value:
            yield from numbers(each)
    elif isinstance(value, int | float):
        yield value


@pytest.mark.parametrize("options", [[], ["--sha256"], ["--shard=100kB"]])
def test_record_is_canonical_and_says_what_the_document_says(
    convert, lossy, tmp_path, options
):
    done = convert(lossy[0], "--to=fp8-scaled", "--out=new", *options)

    said = done.variant("fp8-scaled")
    text = Path(said["record"]).read_text()
    record = json.loads(text)
    valid = ConversionRecord.model_validate_json(text)
    assert valid.to_json() == text
    assert json.dumps(record, sort_keys=True, indent=1) + "\n" == text
    assert not any(isinstance(number, float) for number in numbers(record))
    assert str(tmp_path) not in text
    assert "new/" not in text
    assert (record["schema"], record["variant"]) == (
        "krelease.conversion/1",
        "fp8-scaled",
    )
    cast = record["components"]["unet"]["cast"]
    shown = said["components"]["unet"]["cast"]
    for code, each in cast.items():
        assert each["parity"].items() <= shown[code].items()
    assert [each["name"] for each in record["worst"]] == [
        each["name"] for each in said["worst"]
    ]
    for file, planned in zip(record["files"], said["files"], strict=True):
        path = Path(planned["path"])
        assert (file["name"], file["nbytes"]) == (path.name, path.stat().st_size)
        assert ("sha256" in file) == ("--sha256" in options)
    assert record["ingredients"]["source"]["dtypes"] == {"F32": 6}
    rules = {(rule["dtype"], rule["n_tensors"]) for rule in record["rules"]}
    assert ("F8_E4M3", 2) in rules


def test_record_keeps_the_figures_of_every_block(convert, lossy, fp8):
    path, exact = lossy

    done = convert(path, "--to=fp8", "--out=new")

    (file,) = json.loads(Path(done.variant("fp8")["record"]).read_text())["files"]
    wide = exact[NAMES["matrix"]].astype(np.float64)
    error = wide - fp8(exact[NAMES["matrix"]], "F8_E4M3").astype(np.float64)
    snr = 10 * math.log10(np.sum(wide**2) / np.sum(error**2))
    blocks = file["blocks"]
    assert {part: sorted(each) for part, each in blocks.items()} == {
        "unet": ["input_blocks.0", "middle_block.1", "out.0", "output_blocks.0"],
        "clip_l": ["layer 0"],
        "vae": ["decoder.conv_in"],
    }
    found = blocks["unet"]["middle_block.1"]
    assert (found["n_tensors"], found["n_elements"]) == (1, wide.size)
    assert float(found["snr_db"]) == pytest.approx(snr, abs=0.0051)
    assert float(found["max_abs_error"]) == pytest.approx(np.abs(error).max(), rel=1e-3)
    assert found["clamped"] == np.sum(np.abs(wide) > 448)


# What follows from losses.


def test_clamp_brings_values_to_the_edge_and_counts_them(convert, save):
    values = torch.tensor([1e6, -1e6, 65519.9, 65504.0, 65520.0, -7e4, 1.0])
    name = "first_stage_model.decoder.conv_in.bias"
    path = save({name: values, f"{UNET}out.0.bias": torch.ones(3)})

    done = convert(path, "--to=fp16", "--clamp")

    edge = 65504.0
    found = safetensors.torch.load_file(done.path("fp16"))[name]
    assert found.tolist() == [edge, -edge, edge, edge, edge, -edge, 1.0]
    said = done.variant("fp16")
    assert said["components"]["vae"]["cast"]["F16"]["clamped"] == 5  # 65519.9, too
    assert said["components"]["unet"]["cast"]["F16"]["clamped"] == 0
    assert said["total"]["cast"]["F16"]["clamped"] == 5


def test_clamp_brings_bfloat16_to_its_edge_too(convert, refused, save):
    greatest = torch.finfo(torch.float32).max
    path = save({"w": torch.tensor([greatest, -greatest, 2.0])})

    found = refused(path, "--to=bf16")
    done = convert(path, "--to=bf16", "--clamp")

    assert found.code == "values"
    edge = torch.finfo(torch.bfloat16).max
    tensor = safetensors.torch.load_file(done.path("bf16"))["w"]
    assert tensor.float().tolist() == [edge, -edge, 2.0]


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_clamp_does_not_hide_what_is_not_finite(refused, save, value):
    path = save({"w": torch.tensor([1.0, value])})

    assert refused(path, "--to=fp16", "--clamp").code == "values"


@pytest.mark.parametrize("preset", ["fp8", "fp8-scaled"])
@pytest.mark.parametrize("limit", ["30", "31.65", "99", "0"])
def test_tensors_below_the_threshold_stay_fp16(
    convert, lossy, workplace, preset, limit
):
    path, exact = lossy
    plain = convert(path, f"--to={preset}", "--out=plain")
    snrs = {
        each["name"]: float(each["snr_db"])
        for each in plain.variant(preset)["worst"]
        if each["dtype"].startswith("F8")
    }
    lossy_ones = sorted(name for name, snr in snrs.items() if snr < float(limit))

    done = convert(path, f"--to={preset}", f"--min-snr={limit}", "--out=kept")

    said = done.variant(preset)
    assert said["kept"] == lossy_ones
    record = json.loads(Path(said["record"]).read_text())
    for each in record["worst"]:
        if each["dtype"].startswith("F8"):
            assert float(each["parity"]["snr_db"]) >= float(limit)
    found = safetensors.torch.load_file(done.path(preset))
    for name in lossy_ones:
        assert torch.equal(found[name], torch.from_numpy(exact[name]).half())
        assert f"{name}_scale" not in found
        assert name in done.said
    (workplace / "my.toml").write_text(
        f"[[rule]]\npattern = {json.dumps(lossy_ones)}\ndtype = 'F16'\n"
    )
    if lossy_ones:
        ruled = convert(path, f"--to={preset}", "--rules=my.toml", "--out=ruled")
        assert ruled.path(preset).read_bytes() == done.path(preset).read_bytes()
    else:
        kept, bare = done.path(preset), plain.path(preset)
        assert kept.read_bytes() == bare.read_bytes()


def test_kept_tensors_are_those_of_each_variant(convert, lossy):
    done = convert(lossy[0], "--to=fp8", "--to=fp8-e5m2", "--to=fp16", "--min-snr=22")

    kept = {each["variant"]: each["kept"] for each in done.document["variants"]}
    assert kept["fp16"] == []
    assert kept["fp8"] != kept["fp8-e5m2"]
    assert NAMES["small"] in kept["fp8"]


def test_tensor_kept_though_fp16_cannot_hold_it_is_an_error(refused, save):
    matrix = torch.full((8, 8), 1e5)
    path = save({f"{UNET}middle_block.1.proj_in.weight": matrix})

    found = refused(path, "--to=fp8", "--min-snr=20")

    assert (found.exit_code, found.code) == (4, "values")
    assert "reaches 100000, beyond F16's 65504" in found.message


def test_limit_that_no_tensor_misses_changes_nothing(convert, lossy):
    path = lossy[0]
    plain = convert(path, "--to=bf16", "--out=plain")

    done = convert(path, "--to=bf16", "--fail-below=45", "--out=limited")

    assert done.path("bf16").read_bytes() == plain.path("bf16").read_bytes()


def test_limit_is_met_by_what_stays_fp16(convert, refused, lossy):
    arguments = [lossy[0], "--to=fp8", "--fail-below=25"]

    found = refused(*arguments)
    convert(*arguments, "--min-snr=25")

    assert found.exit_code == 6
    assert f"the worst {NAMES['matrix']} at " in found.message
