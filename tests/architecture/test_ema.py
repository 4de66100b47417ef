"""EMA weights: whose they are, and what becomes of them."""

from pathlib import Path

import pytest

from release.architecture.ema import EmaMode, ema_plan, is_ema
from release.architecture.sdxl import Component, component_of, sdxl_tensors
from release.errors import TensorMismatchError

PATH = Path("some.safetensors")
UNET = "model.diffusion_model."
COUNTERS = ("model_ema.decay", "model_ema.num_updates")
TEXT = "cond_stage_model.transformer.text_model.final_layer_norm.bias"
VAE = "first_stage_model.decoder.conv_out.bias"


def both(*modules):
    return [f"{module}.{last}" for module in modules for last in ("weight", "bias")]


def res_block(at, *, skips):
    layers = ["in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0"]
    layers += ["out_layers.3", *(["skip_connection"] if skips else [])]
    return both(*(f"{at}.{layer}" for layer in layers))


def transformer(at):
    block = f"{at}.transformer_blocks.0"
    queries = [
        f"{block}.{attn}.to_{x}.weight" for attn in ("attn1", "attn2") for x in "qkv"
    ]
    inner = ("attn1.to_out.0", "attn2.to_out.0", "ff.net.0.proj", "ff.net.2")
    norms = ("norm1", "norm2", "norm3")
    rest = both(*(f"{block}.{name}" for name in (*inner, *norms)))
    return queries + rest + both(f"{at}.norm", f"{at}.proj_in", f"{at}.proj_out")


def sd1_unet():
    """The U-Net of SD1.5, whose numbers go beyond one digit."""
    names = both("time_embed.0", "time_embed.2", "out.0", "out.2", "input_blocks.0.0")
    for at in (1, 2, 4, 5, 7, 8, 10, 11):
        names += res_block(f"input_blocks.{at}.0", skips=at in {4, 7})
        names += transformer(f"input_blocks.{at}.1") if at < 10 else []
    names += both(*(f"input_blocks.{at}.0.op" for at in (3, 6, 9)))
    names += res_block("middle_block.0", skips=False) + transformer("middle_block.1")
    names += res_block("middle_block.2", skips=False)
    for at in range(12):
        names += res_block(f"output_blocks.{at}.0", skips=True)
        names += transformer(f"output_blocks.{at}.1") if at > 2 else []
    names += both("output_blocks.2.1.conv", "output_blocks.5.2.conv")
    names += both("output_blocks.8.2.conv")
    return [f"{UNET}{name}" for name in names]


def averaged(names):
    return [f"model_ema.{n.removeprefix('model.').replace('.', '')}" for n in names]


SD1 = sd1_unet()
SDXL = [e.name for e in sdxl_tensors() if component_of(e.name) is Component.UNET]


def use(names):
    return ema_plan(names, EmaMode.USE, path=PATH)


def test_sd1_has_as_many_tensors_as_known():
    assert len(SD1) == len(set(SD1)) == 686


@pytest.mark.parametrize(("unet", "count"), [(SD1, 686), (SDXL, 1680)])
def test_every_tensor_of_a_network_gets_its_own_average(unet, count):
    plan = use([*unet, TEXT, VAE, *averaged(unet), *COUNTERS])

    assert sum(is_ema(source) for source in plan.sources.values()) == count
    assert plan.sources == {
        **dict(zip(unet, averaged(unet), strict=True)),
        TEXT: TEXT,
        VAE: VAE,
    }
    assert plan.uncovered == ()
    assert set(plan.dropped) == {*averaged(unet), *COUNTERS}


def test_known_name_of_a_known_tensor():
    known = "model_ema.diffusion_modeloutput_blocks91transformer_blocks0norm1bias"
    name = f"{UNET}output_blocks.9.1.transformer_blocks.0.norm1.bias"

    assert use([name, known]).sources == {name: known}


def test_vae_file_has_an_average_of_the_whole_file():
    names = ["decoder.conv_out.bias", "model_ema.decoderconv_outbias", *COUNTERS]

    plan = use(names)

    assert plan.sources == {"decoder.conv_out.bias": "model_ema.decoderconv_outbias"}


def test_network_with_half_an_average_is_a_mixture_and_says_so():
    plan = use([*SD1, TEXT, *averaged(SD1[:500]), *COUNTERS])

    assert plan.uncovered == tuple(SD1[500:])
    assert plan.sources[SD1[500]] == SD1[500]
    assert plan.sources[SD1[499]] == averaged(SD1)[499]


def test_dropping_leaves_the_model_and_names_the_rest():
    names = [SD1[0], *averaged(SD1[:1]), *COUNTERS, "model_embedding.weight"]

    plan = ema_plan(names, EmaMode.DROP, path=PATH)

    assert plan.sources == {n: n for n in (SD1[0], "model_embedding.weight")}
    assert plan.dropped == (*averaged(SD1[:1]), *COUNTERS)


def test_keeping_keeps_everything():
    names = [SD1[0], "model_ema.of_nothing", *COUNTERS]

    plan = ema_plan(names, EmaMode.KEEP, path=PATH)

    assert plan.sources == {name: name for name in names}
    assert plan.dropped == plan.uncovered == ()


@pytest.mark.parametrize("mode", [EmaMode.KEEP, EmaMode.DROP])
def test_model_without_an_average_is_left_alone(mode):
    plan = ema_plan([TEXT], mode, path=PATH)

    assert (plan.sources, plan.dropped) == ({TEXT: TEXT}, ())


@pytest.mark.parametrize("names", [[TEXT], [TEXT, *COUNTERS], []])
def test_average_that_is_not_there_cannot_be_used(names):
    with pytest.raises(TensorMismatchError, match="holds no EMA weights") as caught:
        use(names)
    assert caught.value.code == "no-ema"


def test_average_of_an_unknown_tensor_is_refused_by_name():
    with pytest.raises(TensorMismatchError, match=r"1 of 3 .*: model_ema\.lost") as e:
        use([*SD1[:2], *averaged(SD1[:2]), "model_ema.lost"])
    assert e.value.code == "ema-unmatched"


def test_average_alone_is_refused():
    with pytest.raises(TensorMismatchError) as caught:
        use([TEXT, *averaged(SD1), *COUNTERS])
    assert caught.value.code == "ema-unmatched"


def test_names_that_differ_only_in_dots_are_ambiguous():
    names = [f"{UNET}input_blocks.1.0.w", f"{UNET}input_blocks.10.w"]

    with pytest.raises(TensorMismatchError, match="may belong to 2 tensors") as caught:
        use([*names, "model_ema.diffusion_modelinput_blocks10w"])

    assert caught.value.code == "ema-ambiguous"
    assert all(name in str(caught.value) for name in names)
