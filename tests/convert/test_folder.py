"""A diffusers folder becomes a folder again, or one file."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"
WEIGHTS = (UNET, VAE, TEXT)


def load(path: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(path)


def save(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(tensors, path, {"format": "pt"})


def test_files_are_at_the_same_places_under_the_same_names(
    convert, pipeline, workplace, listed
):
    done = convert(pipeline, "--to=fp8", "--to=bf16", "--keep-layout")

    before = listed(workplace / pipeline)
    for folder in ("pipe-fp8", "pipe-bf16"):
        assert listed(workplace / folder).keys() == {*before, "krelease.json"}
        for file in WEIGHTS:
            source, found = load(pipeline / file), load(Path(folder) / file)
            assert {name: t.shape for name, t in source.items()} == {
                name: t.shape for name, t in found.items()
            }
    assert done.paths["fp8"] == [Path("pipe-fp8") / file for file in WEIGHTS]


def test_tensors_get_the_dtypes_they_have_in_a_single_file(convert, pipeline):
    convert(pipeline, "--to=fp8", "--keep-layout")

    unet = load(Path("pipe-fp8") / UNET)
    assert {name: tensor.dtype for name, tensor in unet.items()} == {
        "conv_in.weight": torch.float8_e4m3fn,
        "conv_in.bias": torch.float8_e4m3fn,
        "down_blocks.0.attentions.0.proj_in.weight": torch.float8_e4m3fn,
        "conv_norm_out.weight": torch.float16,
    }
    assert {t.dtype for t in load(Path("pipe-fp8") / VAE).values()} == {torch.float16}
    positions = load(Path("pipe-fp8") / TEXT)["text_model.embeddings.position_ids"]
    assert torch.equal(positions, torch.arange(77).view(1, 77))


def test_values_are_torchs(convert, pipeline):
    convert(pipeline, "--to=bf16", "--keep-layout")

    for file in WEIGHTS:
        source, found = load(pipeline / file), load(Path("pipe-bf16") / file)
        for name, tensor in source.items():
            floating = tensor.is_floating_point()
            expected = tensor.bfloat16() if floating else tensor
            assert torch.equal(found[name], expected)


def test_small_files_are_copied_and_the_index_names_only_what_is_there(
    convert, pipeline
):
    done = convert(pipeline, "--to=fp16", "--keep-layout")

    for name in ("scheduler/scheduler_config.json", "tokenizer/vocab.json"):
        source, copy = pipeline / name, Path("pipe-fp16") / name
        assert copy.read_bytes() == source.read_bytes()
    before = json.loads((pipeline / "model_index.json").read_text())
    after = json.loads((Path("pipe-fp16") / "model_index.json").read_text())
    assert after == before | {"safety_checker": [None, None]}
    assert "model_index.json will declare as not there: safety_checker" in done.said


def test_safety_checker_with_weights_is_not_copied_and_said_so(convert, pipeline):
    save(pipeline / "safety_checker" / "model.safetensors", {"w": torch.ones(3)})
    (pipeline / "safety_checker" / "config.json").write_text("{}")

    done = convert(pipeline, "--to=fp16", "--keep-layout")

    after = json.loads((Path("pipe-fp16") / "model_index.json").read_text())
    assert after["safety_checker"] == [None, None]
    assert not Path("pipe-fp16/safety_checker/model.safetensors").exists()
    assert "warning: unread: the weights of safety_checker" in done.said


def test_model_whose_weights_are_gone_is_declared_as_not_there(convert, pipeline):
    (pipeline / "safety_checker").mkdir()
    (pipeline / "safety_checker" / "config.json").write_text("{}")

    convert(pipeline, "--to=fp16", "--keep-layout")

    after = json.loads((Path("pipe-fp16") / "model_index.json").read_text())
    assert after["safety_checker"] == [None, None]
    assert after["tokenizer"] == ["transformers", "CLIPTokenizer"]
    assert after["scheduler"] == ["diffusers", "DDIMScheduler"]


def test_complete_index_is_copied_as_it_is(convert, pipeline):
    index = pipeline / "model_index.json"
    members = json.loads(index.read_text())
    del members["safety_checker"]
    index.write_text(json.dumps(members, indent=7))

    convert(pipeline, "--to=fp16", "--keep-layout")

    assert (Path("pipe-fp16") / "model_index.json").read_bytes() == index.read_bytes()


def test_shards_and_their_index_stay_shards(convert, pipeline):
    tensors = load(pipeline / UNET)
    (pipeline / UNET).unlink()
    weight_map = {}
    for at, name in enumerate(sorted(tensors), start=1):
        shard = f"diffusion_pytorch_model-{at:05d}-of-00004.safetensors"
        save(pipeline / "unet" / shard, {name: tensors[name]})
        weight_map[name] = shard
    place = "unet/diffusion_pytorch_model.safetensors.index.json"
    (pipeline / place).write_text(
        json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map})
    )

    done = convert(pipeline, "--to=fp16", "--keep-layout").variant("fp16")

    assert done["indexes"] == [f"pipe-fp16/{place}"]
    index = json.loads(Path(done["indexes"][0]).read_text())
    assert index["weight_map"] == weight_map
    assert index["metadata"]["total_size"] == sum(
        2 * t.numel() for t in tensors.values()
    )
    for name, shard in weight_map.items():
        assert load(Path("pipe-fp16/unet") / shard).keys() == {name}


def test_variant_keeps_its_file_names(convert, refused, pipeline):
    for file in WEIGHTS:
        tensors = load(pipeline / file)
        name = file.replace(".safetensors", ".fp32.safetensors")
        save(pipeline / name, {key: t + t for key, t in tensors.items()})

    unknown = refused(pipeline, "--to=fp16", "--folder-variant=ema")
    done = convert(pipeline, "--to=fp16", "--folder-variant=fp32", "--keep-layout")

    assert (unknown.exit_code, unknown.code) == (4, "variant")
    assert "fp32" in unknown.message
    assert [path.name for path in done.paths["fp16"]] == [
        "diffusion_pytorch_model.fp32.safetensors",
        "diffusion_pytorch_model.fp32.safetensors",
        "model.fp32.safetensors",
    ]
    bias = load(done.paths["fp16"][0])["conv_in.bias"]
    assert torch.equal(bias, (load(pipeline / UNET)["conv_in.bias"] * 2).half())


def test_kept_folder_is_converted_again(convert, pipeline, listed):
    convert(pipeline, "--to=fp8", "--keep-layout")

    convert("pipe-fp8", "--to=fp16", "--keep-layout")
    convert("pipe-fp16", "--to=fp8", "--keep-layout", "--out=again")

    first, again = listed(Path("pipe-fp8")), listed(Path("again/pipe-fp8"))
    assert first.keys() == again.keys()
    for name in (*WEIGHTS, "model_index.json"):
        assert data_of(first[name]) == data_of(again[name])


def data_of(content: bytes) -> bytes:
    return content[8 + int.from_bytes(content[:8], "little") :]


def test_single_file_has_the_values_of_the_folder(convert, pipeline):
    done = convert(pipeline, "--to=fp32")

    found, unet = load(done.path("fp32")), load(pipeline / UNET)
    inside = "model.diffusion_model.input_blocks"
    assert torch.equal(found[f"{inside}.0.0.weight"], unet["conv_in.weight"])
    attention = "first_stage_model.decoder.mid.attn_1.q.weight"
    assert found[attention].shape == (8, 8, 1, 1)
    assert len(found) == sum(len(load(pipeline / file)) for file in WEIGHTS)


STRANGE = {
    "tensor that single files lack": ("added.weight", "unmapped-tensors"),
    "architecture that is not known": (None, "unknown-architecture"),
}


@pytest.mark.parametrize("case", STRANGE)
def test_strange_folder_can_only_stay_a_folder(convert, refused, pipeline, case):
    added, code = STRANGE[case]
    tensors = load(pipeline / UNET)
    if added:
        tensors[added] = torch.ones(8, 8)
    else:
        del tensors["down_blocks.0.attentions.0.proj_in.weight"]
    save(pipeline / UNET, tensors)

    found = refused(pipeline, "--to=fp8")
    convert(pipeline, "--to=fp8", "--keep-layout")

    assert (found.exit_code, found.code) == (4, code)
    assert "layout" in found.hint
    unet = load(Path("pipe-fp8") / UNET)
    assert unet.keys() == tensors.keys()
    assert unet["conv_in.weight"].dtype == torch.float8_e4m3fn
    assert not any(t.dtype.itemsize == 1 for t in load(Path("pipe-fp8") / VAE).values())
    assert not any(
        t.dtype.itemsize == 1 for t in load(Path("pipe-fp8") / TEXT).values()
    )


@pytest.fixture
def with_matrix(pipeline):
    """The folder with a Linear weight in its U-Net; the weight's name."""
    tensors = load(pipeline / UNET)
    name = "down_blocks.0.attentions.0.proj_in.weight"
    tensors[name] = tensors[name][:, :, 0, 0].contiguous()
    save(pipeline / UNET, tensors)
    return name


def test_scales_are_never_put_into_a_folder(refused, pipeline, with_matrix):
    found = refused(pipeline, "--to=fp8-scaled", "--keep-layout")

    assert (found.exit_code, found.code) == (2, "folder-scales")
    assert "--to fp8" in found.hint


def test_scaled_folder_is_read_and_stays_a_folder(
    convert, refused, pipeline, with_matrix
):
    tensors = load(pipeline / UNET)
    weight = tensors[with_matrix].to(torch.float8_e4m3fn)
    entry = json.dumps({"format": "float8_e4m3fn"}).encode()
    module = with_matrix.removesuffix(".weight")
    scaled = {
        with_matrix: weight,
        f"{module}.weight_scale": torch.tensor(0.3),
        f"{module}.comfy_quant": torch.tensor(list(entry), dtype=torch.uint8),
    }
    save(pipeline / UNET, tensors | scaled)

    found = refused(pipeline, "--to=fp16")
    convert(pipeline, "--to=fp32", "--keep-layout")

    assert (found.exit_code, found.code) == (4, "scaled-folder")
    assert "--keep-layout" in found.hint
    back = load(Path("pipe-fp32") / UNET)
    assert torch.equal(back[with_matrix], weight.float() * torch.tensor(0.3))
    assert back.keys() == tensors.keys()


def test_shards_of_a_kept_folder_are_its_own(refused, pipeline):
    found = refused(pipeline, "--to=fp16", "--keep-layout", "--shard=5GB")

    assert (found.exit_code, found.code) == (2, "layout-options")


@pytest.mark.parametrize(
    "name",
    ["pipe-fp16/krelease.json", f"pipe-fp16/{VAE}", "pipe-fp16/unet/config.json"],
)
def test_file_in_the_folders_way_is_kept_and_no_folder_made(
    refused, pipeline, workplace, name
):
    path = workplace / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")

    found = refused(pipeline, "--to=bf16", "--to=fp16", "--keep-layout")

    assert (found.exit_code, found.code) == (9, "output-exists")
    assert found.message.startswith(f"{name}: ")


def test_folder_in_the_folders_way_is_replaced_file_by_file_with_force(
    convert, pipeline, workplace
):
    convert(pipeline, "--to=fp16", "--keep-layout")
    (workplace / "pipe-fp16" / "mine.txt").write_text("mine")
    before = (workplace / "pipe-fp16" / UNET).read_bytes()
    (workplace / "pipe-fp16" / UNET).write_text("damaged")

    convert(pipeline, "--to=fp16", "--keep-layout", "--force")

    assert (workplace / "pipe-fp16" / UNET).read_bytes() == before
    assert (workplace / "pipe-fp16" / "mine.txt").read_text() == "mine"
