"""Sums through the command line against numpy: every element of every tensor."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from release.architecture.diffusers.single_file import folder_names

UNET = "model.diffusion_model."
DIVISOR = 32


@pytest.fixture(scope="module")
def sources(formulas, ingredients):
    return {name: formulas.values(path) for name, path in ingredients.items()}


@pytest.fixture(scope="module")
def rev2(tmp_path_factory, run_merge, options, ingredients):
    """gamma-rev2 in two variants."""
    folder = tmp_path_factory.mktemp("rev2")
    run_merge(
        "--recipe=gamma-rev2",
        *options(ingredients),
        "--to=fp16",
        "--to=fp8",
        f"--out={folder}",
    )
    return folder


@pytest.mark.parametrize("variant", ["fp16", "fp8"])
def test_gamma_rev2_is_its_formula_rounded_once(formulas, rev2, sources, variant):
    path = rev2 / f"gamma-rev2-{variant}.safetensors"

    dtypes = Counter(dtype for dtype, _, _ in formulas.read(path).values())

    assert dtypes.total() == 2515
    assert dtypes["F8_E4M3"] == (1168 if variant == "fp8" else 0)
    wrong = formulas.differing(path, sources, formulas.rev2_row, copied_from="beta7")
    assert wrong == []


def test_gamma_rev1_is_its_formula_rounded_once(
    merge, formulas, options, ingredients, base7, sources
):
    paths = {name: ingredients[name] for name in ("anxl2", "anxl3", "beta7")}

    done = merge("--recipe=gamma-rev1", *options({**paths, "base7": base7}))

    values = {**sources, "base7": formulas.values(base7)}
    path = done.path()
    assert path == Path("gamma-rev1-fp16.safetensors")
    assert len(formulas.read(path)) == 2515
    assert formulas.differing(path, values, formulas.rev1_row, copied_from="beta7") == (
        []
    )


@pytest.mark.parametrize("variant", ["fp16", "fp8"])
def test_tensors_are_those_that_build_makes(formulas, rev2, release_folder, variant):
    merged = formulas.read(rev2 / f"gamma-rev2-{variant}.safetensors")
    built = formulas.read(
        release_folder / f"kohaku-xl-gamma-rev2-{variant}.safetensors"
    )

    assert merged == built


FORMS = {
    "brain": 0.2,
    "half": 0.1,
    "pickled": 0.05,
    "plain8": 0.15,
    "scaled": 0.3,
    "sharded": -0.3,
    "wide": 0.5,
}


def torch_tensors(path):
    return safetensors.torch.load_file(path)


def cast(tensors, dtype, *, only=""):
    return {
        name: tensor.to(dtype)
        if tensor.is_floating_point() and name.startswith(only)
        else tensor
        for name, tensor in tensors.items()
    }


def scale_linear(tensors):
    """Give the U-Net's matrices fp8 values and a scale each, as ComfyUI does."""
    found = {f"{UNET}scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}
    means = {}
    for number, (name, tensor) in enumerate(tensors.items()):
        if not (name.startswith(UNET) and name.endswith("weight") and tensor.ndim == 2):
            found[name] = tensor
            continue
        scale = torch.tensor(1e-4 * (1 + number % 7), dtype=torch.float32)
        codes = (tensor.float() / scale).clamp(-448, 448).to(torch.float8_e4m3fn)
        found[name] = codes
        found[name.replace(".weight", ".scale_weight")] = scale
        means[name] = (codes.float() * scale).double().numpy()
    return found, means


def write_shards(folder, tensors):
    """Write three files and their index."""
    names = sorted(tensors)
    files = [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    parts = [names[at::3] for at in range(3)]
    folder.mkdir()
    for file, part in zip(files, parts, strict=True):
        safetensors.torch.save_file({n: tensors[n] for n in part}, folder / file)
    places = {n: f for f, part in zip(files, parts, strict=True) for n in part}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index


def test_every_form_of_an_ingredient_is_taken_at_its_own_precision(
    merge, formulas, options, ingredients, here
):
    folder = here.parent
    names = dict(zip(FORMS, [*ingredients] * 2, strict=False))
    whole = {name: torch_tensors(ingredients[names[name]]) for name in FORMS}
    save = safetensors.torch.save_file
    paths = {name: folder / f"{name}.safetensors" for name in FORMS}
    paths["pickled"] = folder / "pickled.ckpt"
    save(cast(whole["brain"], torch.bfloat16), paths["brain"])
    save(whole["half"], paths["half"])
    torch.save({"state_dict": whole["pickled"]}, paths["pickled"])
    plain8 = cast(whole["plain8"], torch.float8_e4m3fn, only=UNET)
    save(plain8, paths["plain8"])
    scaled, means = scale_linear(whole["scaled"])
    save(scaled, paths["scaled"])
    paths["sharded"] = write_shards(folder / "shards", whole["sharded"])
    save(cast(whole["wide"], torch.float32), paths["wide"])
    values = {
        name: {key: tensor.double().numpy() for key, tensor in tensors.items()}
        for name, tensors in {
            **whole,
            "brain": torch_tensors(paths["brain"]),
            "plain8": plain8,
        }.items()
    }
    values["scaled"] |= means
    expression = "+".join(f"({weight})*{name}" for name, weight in FORMS.items())

    done = merge(expression.replace("(-0.3)", "-0.3"), *options(paths), "--to=fp32")

    assert len(means) > 700
    path = done.path("fp32")
    assert len(formulas.read(path)) == 2515
    wrong = formulas.differing(path, values, lambda _: FORMS, copied_from="brain")
    assert wrong == []


def test_two_scaled_ingredients_need_not_have_the_same_scales(
    merge, formulas, options, ingredients, here
):
    means, paths = {}, {}
    for name, source in (("a", "anxl2"), ("b", "beta7")):
        tensors = torch_tensors(ingredients[source])
        if name == "b":
            tensors = dict(reversed(tensors.items()))
        scaled, dequantised = scale_linear(tensors)
        paths[name] = here.parent / f"{name}.safetensors"
        safetensors.torch.save_file(scaled, paths[name])
        whole = {key: tensor.double().numpy() for key, tensor in tensors.items()}
        means[name] = {**whole, **dequantised}

    done = merge("0.25*a + 0.75*b", *options(paths))

    names = formulas.read(done.path()).keys()
    assert not any("scale" in name.rpartition(".")[2] for name in names - {LOGIT})
    row = {"a": 0.25, "b": 0.75}
    wrong = formulas.differing(done.path(), means, lambda _: row, copied_from="a")
    assert wrong == []


def in_folder(values, path):
    """Return a tensor as it lies in a folder, whose name for it is `path`."""
    if path == "text_encoder_2/text_projection.weight":
        values = values.T
    if path.startswith("vae/") and ".attentions." in path and values.ndim == 4:
        values = values[:, :, 0, 0]
    return np.ascontiguousarray(values)


def write_folder(folder, tensors):
    """Write a diffusers folder of the same values, as their own tests name them."""
    parts = {"unet": {}, "vae": {}, "text_encoder": {}, "text_encoder_2": {}}
    for name, values in tensors.items():
        names = folder_names(name, "sdxl")
        pieces = np.split(values, len(names)) if names else []
        for path, piece in zip(names, pieces, strict=True):
            component, _, key = path.partition("/")
            parts[component][key] = in_folder(piece, path)
    for component, held in parts.items():
        diffusion = component in {"unet", "vae"}
        file = "diffusion_pytorch_model" if diffusion else "model"
        (folder / component).mkdir(parents=True)
        safetensors.numpy.save_file(held, folder / component / f"{file}.safetensors")
    classes = {component: ["library", "Class"] for component in parts}
    (folder / "model_index.json").write_text(
        json.dumps({"_class_name": "StableDiffusionXLPipeline", **classes})
    )
    return folder


def test_folder_of_diffusers_is_an_ingredient_like_its_single_file(
    merge, formulas, ingredients, sources, here
):
    tensors = safetensors.numpy.load_file(ingredients["base8"])
    folder = write_folder(here.parent / "pipe", tensors)

    done = merge("0.5*a + 0.5*b", f"-ia={ingredients['beta7']}", f"-ib={folder}")

    values = {"a": sources["beta7"], "b": sources["base8"]}
    row = {"a": 0.5, "b": 0.5}
    assert len(formulas.read(done.path())) == 2515
    wrong = formulas.differing(done.path(), values, lambda _: row, copied_from="a")
    assert wrong == []


LOGIT = "conditioner.embedders.1.model.logit_scale"
BLOCK = f"{UNET}input_blocks.4.1.transformer_blocks.0.attn1."
TEXT_L = "conditioner.embedders.0.transformer.text_model.encoder.layers.0.self_attn."
TEXT_G = "conditioner.embedders.1.model.transformer.resblocks.2.attn.in_proj_weight"
FLAT = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_"
DIFFUSERS = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_"
MODULES = {
    # Name in the file -> tensor and which part of its rows, and alpha.
    f"{FLAT}to_q": (f"{BLOCK}to_q.weight", slice(None), 2.0),
    f"{FLAT}to_k": (f"{BLOCK}to_k.weight", slice(None), 4.0),
    f"{DIFFUSERS}to_v": (f"{BLOCK}to_v.weight", slice(None), 1.0),
    f"{DIFFUSERS}to_out_0": (f"{BLOCK}to_out.0.weight", slice(None), 8.0),
    "lora_te1_text_model_encoder_layers_0_self_attn_q_proj": (
        f"{TEXT_L}q_proj.weight",
        slice(None),
        0.5,
    ),
    "lora_te2_text_model_encoder_layers_2_self_attn_k_proj": (
        TEXT_G,
        slice(40, 80),
        2.0,
    ),
}
RANK = 4


def lora(values):
    """Return the tensors of a kohya file, and the change of each tensor in float32.

    Factors are multiples of 1/64, so every order of summing a product gives the same.
    """
    random = np.random.default_rng(11)
    tensors, changes = {}, {}
    for module, (name, rows, alpha) in MODULES.items():
        change = changes.setdefault(name, np.zeros(values[name].shape, np.float32))
        part = change[rows]
        up = random.integers(-64, 65, (part.shape[0], RANK)) / 64
        down = random.integers(-64, 65, (RANK, part.shape[1])) / 64
        part[:] = (up @ down) * (alpha / RANK)
        tensors |= {
            f"{module}.lora_up.weight": up.astype(np.float16),
            f"{module}.lora_down.weight": down.astype(np.float16),
            f"{module}.alpha": np.array(alpha, np.float16),
        }
    return tensors, changes


def test_lora_is_added_in_float64_where_it_says_something(
    merge, formulas, ingredients, sources, here
):
    tensors, changes = lora(sources["beta7"])
    style = here.parent / "style.safetensors"
    safetensors.numpy.save_file(tensors, style)

    done = merge(
        "a + 0.6*lora(style)", f"-ia={ingredients['beta7']}", f"-istyle={style}"
    )

    before, after = formulas.read(ingredients["beta7"]), formulas.read(done.path())
    assert after.keys() == before.keys()
    differing = {name for name, raw in after.items() if raw != before[name]}
    assert differing == changes.keys()
    for name, change in changes.items():
        expected = sources["beta7"][name] + 0.6 * change.astype(np.float64)
        assert after[name][2] == expected.astype(np.float16).tobytes(), name
    assert "warning" not in done.said


def test_markers_of_scaled_ingredients_may_differ(merge, formulas, ingredients, here):
    """They say how a program should multiply, and are not in the result."""
    paths, row = {}, {"a": 0.5, "b": 0.5}
    for name, more in (("a", {}), ("b", {"full_precision_matrix_mult": True})):
        tensors = torch_tensors(ingredients["beta7"])
        text = json.dumps({"format": "float8_e4m3fn", **more}).encode()
        tensors[f"{BLOCK}to_q.weight"] = tensors[f"{BLOCK}to_q.weight"].to(
            torch.float8_e4m3fn
        )
        tensors[f"{BLOCK}to_q.weight_scale"] = torch.tensor(1.0)
        tensors[f"{BLOCK}to_q.comfy_quant"] = torch.tensor(
            list(text), dtype=torch.uint8
        )
        paths[name] = here.parent / f"{name}.safetensors"
        safetensors.torch.save_file(tensors, paths[name])

    done = merge("0.5*a + 0.5*b", *[f"-i{n}={p}" for n, p in paths.items()])

    values = {**formulas.values(paths["a"])}
    assert (
        formulas.differing(
            done.path(), {"a": values, "b": values}, lambda _: row, copied_from="a"
        )
        == []
    )
