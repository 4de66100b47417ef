"""What a file is."""

import json
import math
import struct

import pytest
import torch

from release.architecture.contents import Contents, Part
from release.architecture.sdxl import sdxl_tensors
from release.errors import CheckpointError
from release.inspection.inspect import inspect

UNET = "model.diffusion_model."
POSITIONS = "conditioner.embedders.0.transformer.text_model.embeddings.position_ids"
FP8_LAYER = f"{UNET}input_blocks.4.1.proj_in"


def words(found):
    return [line.partition(":")[0] for line in found.findings]


def options(found):
    return [each.to for each in found.advice]


def as_code(tensors, code, *prefixes):
    """Return the same tensors, the floats below the prefixes in another dtype."""
    return {
        name: (code, shape, data)
        if name.startswith(prefixes) and dtype == "F16"
        else (dtype, shape, data)
        for name, (dtype, shape, data) in tensors.items()
    }


def test_sdxl_is_recognised_with_all_its_parts(write, sdxl):
    path = write(sdxl, {"format": "pt"})

    found = inspect(path)

    parts = {part.part: part for part in found.parts}
    assert (found.architecture, found.contents) == ("sdxl", Contents.ALL_IN_ONE)
    assert found.container == "safetensors file"
    assert (found.n_files, found.nbytes) == (1, path.stat().st_size)
    assert found.n_tensors == 2515
    assert found.n_parameters == sum(math.prod(shape) for _, shape, _ in sdxl.values())
    assert {part: each.n_tensors for part, each in parts.items()} == {
        Part.UNET: 1680,
        Part.CLIP_L: 197,
        Part.CLIP_G: 390,
        Part.VAE: 248,
    }
    assert parts[Part.CLIP_L].dtypes == {"F16": 196, "I64": 1}
    assert parts[Part.CLIP_L].nbytes == parts[Part.CLIP_L].nbytes_at_16_bits
    assert sum(part.nbytes for part in found.parts) == sum(
        math.prod(shape) * (8 if dtype == "I64" else 2)
        for dtype, shape, _ in sdxl.values()
    )
    assert found.layout is None
    assert found.missing == found.missing_optional == found.findings == ()
    assert (found.prediction.kind, found.prediction.zero_terminal_snr) == (
        "epsilon",
        False,
    )


def test_sixteen_bits_halve_float32_and_double_fp8(write):
    found = inspect(
        write(
            {
                f"{UNET}out.2.weight": ("F32", (8, 4, 3, 3), None),
                "first_stage_model.quant_conv.weight": ("F8_E4M3", (8, 8, 1, 1), None),
            }
        )
    )

    unet, vae = found.parts
    assert (unet.nbytes, unet.nbytes_at_16_bits) == (1152, 576)
    assert (vae.nbytes, vae.nbytes_at_16_bits) == (64, 128)


@pytest.mark.parametrize(
    ("names", "contents", "architecture"),
    [
        (["lora_unet_x.lora_up.weight", "lora_unet_x.alpha"], "lora", "unknown"),
        (["decoder.conv_in.weight", "model_ema.decay"], "vae", "unknown"),
        ([f"{UNET}middle_block.1.transformer_blocks.9.norm3.weight"], "unet", "sdxl"),
        (["text_model.final_layer_norm.bias"], "text-encoder", "unknown"),
        (
            [f"{UNET}x", "cond_stage_model.transformer.x", "first_stage_model.x"],
            "all-in-one",
            "sd1",
        ),
        ([f"{UNET}x", "cond_stage_model.model.x"], "some-parts", "sd2"),
        (["blocks.0.attn.qkv.weight"], "unknown", "unknown"),
    ],
)
def test_other_files_are_told_apart(write, names, contents, architecture):
    found = inspect(write(dict.fromkeys(names, ("F16", (4, 2), None))))

    assert found.contents.value == contents
    assert found.architecture == architecture


def test_unknown_architecture_is_a_finding_only_where_it_matters(write):
    model = inspect(write({"blocks.0.weight": ("F16", (4, 2), None)}))
    lora = inspect(write({"lora_unet_x.lora_up.weight": ("F16", (4, 2), None)}))

    assert words(model) == ["unknown-architecture"]
    assert words(lora) == []


@pytest.mark.parametrize(
    ("markers", "metadata", "kind", "source", "zero_snr"),
    [
        (["v_pred"], {}, "v", "tensor v_pred", False),
        (["v_pred", "ztsnr"], {}, "v", "tensor v_pred", True),
        (["edm_mean", "edm_std"], {}, "edm", "tensor edm_mean", False),
        (
            ["edm_vpred.sigma_max", "edm_vpred.sigma_min"],
            {},
            "edm-v",
            "tensor edm_vpred.sigma_max",
            False,
        ),
        (
            [],
            {"modelspec.prediction_type": "V"},
            "v",
            "metadata modelspec.prediction_type",
            False,
        ),
        ([], {"predict_key": "epsilon"}, "epsilon", "metadata predict_key", False),
        (
            ["v_pred"],
            {"modelspec.prediction_type": "epsilon"},
            "v",
            "tensor v_pred",
            False,
        ),
        ([], {"predict_key": "nonsense"}, "epsilon", "nothing says otherwise", False),
    ],
)
def test_prediction_is_what_programs_take_it_for(
    write, markers, metadata, kind, source, zero_snr
):
    tensors = {f"{UNET}middle_block.1.transformer_blocks.9.x": ("F16", (2,), None)}
    tensors |= dict.fromkeys(markers, ("F32", (0,), None))

    found = inspect(write(tensors, metadata)).prediction

    assert (found.kind, found.source) == (kind, source)
    assert found.zero_terminal_snr is zero_snr


def test_sd2_does_not_say_what_it_predicts(write):
    found = inspect(write({"cond_stage_model.model.x": ("F16", (2,), None)}))

    assert found.prediction.kind == "unknown"


def positions(write, code, data, shape=(1, 77)):
    (state,) = inspect(write({POSITIONS: (code, shape, data)})).position_ids
    return state


@pytest.mark.parametrize(
    ("code", "dtype"), [("I64", torch.int64), ("F32", torch.float32)]
)
def test_right_positions_are_right_in_any_dtype(write, code, dtype):
    data = torch.arange(77, dtype=dtype).numpy().tobytes()

    state = positions(write, code, data)

    assert (state.is_right, state.detail, state.dtype) == (True, "0 to 76", code)


@pytest.mark.parametrize(
    ("code", "dtype", "wrong"),
    [
        ("F16", torch.float16, 0),
        ("BF16", torch.bfloat16, 0),
        ("F8_E4M3", torch.float8_e4m3fn, 43),
        ("F8_E5M2", torch.float8_e5m2, 56),
    ],
)
def test_positions_are_decoded_as_torch_casts_them(write, code, dtype, wrong):
    values = torch.arange(77, dtype=torch.float32).to(dtype)
    data = bytes(values.view(torch.uint8).tolist())

    state = positions(write, code, data)

    assert state.is_right is (wrong == 0)
    assert wrong == 0 or state.detail.startswith(f"{wrong} of 77 wrong")


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_every_fp8_code_is_decoded_as_torch_does(write, dtype):
    codes = torch.arange(128, dtype=torch.uint8)
    values = codes.view(dtype).to(torch.float32)
    code = "F8_E4M3" if dtype == torch.float8_e4m3fn else "F8_E5M2"
    wrong = int((values != torch.arange(128)).sum())
    first = int((values != torch.arange(128)).nonzero()[0])

    state = positions(write, code, bytes(codes.tolist()), shape=(128,))

    assert state.detail == (
        f"{wrong} of 128 wrong, the first is {values[first]:.6g} instead of {first}"
    )


def test_position_that_is_no_number_is_wrong(write):
    state = positions(write, "F8_E4M3", b"\x7f\x38", shape=(2,))

    assert state.detail == "1 of 2 wrong, the first is nan instead of 0"


def test_position_that_merges_have_eaten_is_named(write):
    data = struct.pack("<77q", *range(76), 75)

    found = inspect(write({POSITIONS: ("I64", (1, 77), data)}))

    assert found.position_ids[0].detail == (
        "1 of 77 wrong, the first is 75 instead of 76"
    )
    assert "position-ids" in words(found)


@pytest.mark.parametrize("shape", [(0,), (1, 5000)])
def test_positions_of_an_absurd_size_are_not_read(write, shape):
    state = positions(write, "I64", None, shape=shape)

    assert not state.is_right
    assert state.detail == f"holds {math.prod(shape):,} values, expected 77"


def test_missing_tensors_are_told_by_need(write, sdxl):
    optional = [entry.name for entry in sdxl_tensors() if entry.optional]
    lost = f"{UNET}out.2.bias"
    kept = {n: t for n, t in sdxl.items() if n not in {*optional, lost}}

    found = inspect(write(kept))

    assert found.missing == (lost,)
    assert set(found.missing_optional) == set(optional)
    assert words(found) == ["missing-tensors"]
    assert lost in found.findings[0]


def test_network_alone_lacks_nothing(write, sdxl):
    unet = {name: each for name, each in sdxl.items() if name.startswith(UNET)}

    found = inspect(write(unet))

    assert (found.architecture, found.contents) == ("sdxl", Contents.UNET)
    assert found.missing == found.missing_optional == ()


def test_size_of_a_conversion_leaves_the_average_out(write):
    tensors = {
        f"{UNET}middle_block.1.transformer_blocks.9.x.weight": ("F32", (4, 4), None),
        "model_ema.x": ("F32", (100, 4), None),
    }

    found = inspect(write(tensors))

    assert [(each.to, each.nbytes) for each in found.advice][:2] == [
        ("fp16", 32),
        ("fp8", 16),
    ]


def test_average_is_a_part_of_its_own_and_a_finding(write):
    found = inspect(
        write(
            {
                f"{UNET}out.0.bias": ("F16", (4,), None),
                "model_ema.diffusion_modelout0bias": ("F32", (4,), None),
                "model_ema.decay": ("F32", (), None),
            }
        )
    )

    assert [part.n_tensors for part in found.parts] == [1, 2]
    assert [part.part for part in found.loaded] == [Part.UNET]
    assert "ema" in words(found)


def test_stand_ins_say_that_they_are_no_model(write):
    found = inspect(write({"v": ("F16", (2,), None)}, {"krelease.stand_in": "x"}))

    assert words(found)[0] == "stand-in"


def test_private_metadata_is_found_and_named_without_its_value(write):
    metadata = {"prompt": "a secret", "b": "/home/somebody/x", "a": "fine"}

    found = inspect(write({"v": ("F16", (2,), None)}, metadata))

    assert [(entry.key, bool(entry.private)) for entry in found.metadata] == [
        ("a", False),
        ("b", True),
        ("prompt", True),
    ]
    assert found.findings[-1].endswith("b, prompt")
    assert "secret" not in " ".join(found.findings)


def test_warnings_of_the_reader_are_passed_on(write):
    found = inspect(write({}))

    assert found.contents is Contents.UNKNOWN
    assert "no-tensors" in words(found)
    assert found.advice == ()


def test_float32_model_is_advised_to_halve_first(write, sdxl):
    tensors = as_code(sdxl, "F32", "")

    found = inspect(write(tensors))

    assert options(found)[:2] == ["fp16", "fp8"]
    data = sum(
        math.prod(shape) * (8 if code == "I64" else 2)
        for code, shape, _ in tensors.values()
    )
    # logit_scale, one element, is never cast.
    assert found.advice[0].nbytes == data + 2


def test_float16_model_is_advised_to_fp8_of_the_size_convert_makes(write, sdxl):
    found = inspect(write(sdxl))

    cast = sum(
        math.prod(shape)
        for name, (_, shape, _) in sdxl.items()
        if name.startswith(UNET)
        and len(sdxl[f"{name.rpartition('.')[0]}.weight"][1]) > 1
    )
    data = sum(
        math.prod(shape) * (8 if code == "I64" else 2)
        for code, shape, _ in sdxl.values()
    )
    assert options(found)[0] == "fp8"
    assert found.advice[0].nbytes == data - cast


@pytest.mark.parametrize(
    ("name", "code", "expected"),
    [
        ("lora_unet_x.lora_up.weight", "F32", ["fp16"]),
        ("lora_unet_x.lora_up.weight", "F16", []),
        ("decoder.conv_in.weight", "F32", ["fp16"]),
        ("decoder.conv_in.weight", "BF16", []),
        ("blocks.0.weight", "F32", ["fp16"]),
        ("blocks.0.weight", "F16", []),
        ("blocks.0.weight", "I64", []),
        (f"{UNET}x.weight", "F16", []),
    ],
)
def test_advice_fits_the_kind_of_file(write, name, code, expected):
    found = inspect(write({name: (code, (8, 8), None)}))

    assert options(found) == expected
    assert bool(found.advice_note) is not bool(expected)


def test_plain_fp8_has_a_layout_and_sensitive_parts_are_named(write, sdxl):
    clean = inspect(write(as_code(sdxl, "F8_E4M3", UNET), name="clean"))
    spoilt = inspect(
        write(as_code(sdxl, "F8_E4M3", UNET, "first_stage_model."), name="spoilt")
    )

    assert clean.layout is not None
    assert clean.layout.name == "plain-fp8"
    assert "damaged-by-fp8" not in words(clean)
    assert words(spoilt).count("damaged-by-fp8") == 1
    assert options(spoilt) == ["fp16"]
    assert "already fp8" in spoilt.advice_note


def test_scales_and_markers_are_no_parameters(write):
    entry = b'{"format": "float8_e4m3fn"}'
    found = inspect(
        write(
            {
                f"{FP8_LAYER}.weight": ("F8_E4M3", (8, 8), bytes([56] * 64)),
                f"{FP8_LAYER}.weight_scale": ("F32", (), struct.pack("<f", 0.5)),
                f"{FP8_LAYER}.comfy_quant": ("U8", (len(entry),), entry),
            }
        )
    )

    assert found.layout is not None
    assert found.layout.name == "comfy-scaled"
    assert (found.n_tensors, found.n_parameters) == (3, 64)
    assert found.parts[0].nbytes_at_16_bits == 128
    assert [(each.to, each.nbytes) for each in found.advice] == [("fp16", 128)]


def test_scale_that_nothing_explains_is_a_finding_not_an_error(write):
    found = inspect(
        write(
            {
                f"{FP8_LAYER}.weight": ("F8_E4M3", (8, 8), None),
                f"{FP8_LAYER}.weight_scale": ("F32", (), struct.pack("<f", 0.5)),
            }
        )
    )

    assert found.layout is not None
    assert found.layout.name == "unreadable"
    assert "orphan-scales" in words(found)
    assert found.advice == ()
    assert "nothing explains" in found.advice_note


def test_names_that_lack_text_model_are_counted(write):
    root = "cond_stage_model.transformer."

    found = inspect(
        write(
            {
                f"{root}encoder.layers.0.mlp.fc1.bias": ("F16", (4,), None),
                f"{root}final_layer_norm.bias": ("F16", (4,), None),
            }
        )
    )

    assert found.architecture == "sd1"
    assert "nai-names: 2 of the text encoder lack text_model." in found.findings


@pytest.fixture
def folder(write, tmp_path):
    """A diffusers folder of SDXL with a few of its tensors, positions among them."""

    def make(unet=("conv_in.weight", "add_embedding.linear_1.weight")):
        root = tmp_path / "pipeline"
        weights = {
            "unet/diffusion_pytorch_model": dict.fromkeys(unet, ("F16", (4, 4), None)),
            "text_encoder/model": {
                "text_model.embeddings.position_ids": (
                    "I64",
                    (1, 4),
                    struct.pack("<4q", 0, 1, 2, 2),
                )
            },
        }
        for name, tensors in weights.items():
            (root / name).parent.mkdir(parents=True)
            write(tensors).rename(root / f"{name}.safetensors")
        (root / "scheduler").mkdir()
        schedule = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
        config = root / "scheduler" / "scheduler_config.json"
        config.write_text(json.dumps(schedule))
        listed = {
            part: ["diffusers", "X"] for part in ("unet", "text_encoder", "scheduler")
        }
        (root / "model_index.json").write_text(json.dumps(listed))
        return root

    return make


def test_diffusers_folder_is_looked_at_as_the_file_it_would_be(folder):
    found = inspect(folder())

    assert (found.architecture, found.container) == ("sdxl", "diffusers folder")
    assert found.n_files == 2
    assert {part.part: part.n_tensors for part in found.parts} == {
        Part.UNET: 2,
        Part.CLIP_L: 1,
    }
    assert (found.prediction.kind, found.prediction.source) == ("v", "the scheduler")
    assert found.prediction.zero_terminal_snr
    assert found.position_ids[0].name == POSITIONS
    assert found.position_ids[0].detail == ("1 of 4 wrong, the first is 2 instead of 3")


def test_folder_with_a_foreign_tensor_is_described_by_its_own_names(folder):
    found = inspect(folder(["add_embedding.linear_1.weight", "extra.weight"]))

    assert found.architecture == "unknown"
    assert "unmapped-tensors" in words(found)
    assert {part.part: part.n_tensors for part in found.parts} == {
        Part.UNET: 2,
        Part.TEXT_ENCODER: 1,
    }


def test_file_that_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "page.safetensors"
    path.write_text("<html>not found</html>")

    with pytest.raises(CheckpointError) as caught:
        inspect(path)
    assert caught.value.code == "header-too-large"


def test_data_of_large_tensors_is_never_read(write, sdxl, monkeypatch):
    path = write(sdxl)
    read = []
    from release.formats.input import InputFile

    original = InputFile.read_into

    def watched(self, offset, buffer):
        read.append(buffer.nbytes)
        return original(self, offset, buffer)

    monkeypatch.setattr(InputFile, "read_into", watched)

    inspect(path)

    header = int.from_bytes(path.read_bytes()[:8], "little")
    assert sum(read) - header < 2000
