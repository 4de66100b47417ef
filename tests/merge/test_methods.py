"""Methods inside sums, through the command line, against formulas of whole tensors."""

import numpy as np
import pytest
import safetensors.numpy

UNET = "model.diffusion_model."
CLIP_L = "conditioner.embedders.0."
CLIP_G = "conditioner.embedders.1."
COMPONENTS = (UNET, CLIP_L, CLIP_G, "first_stage_model.")
CHUNK = 262_144


@pytest.fixture(scope="module")
def values(formulas, models):
    return {name: formulas.values(path) for name, path in models.items()}


def looked_at(tensors, formulas):
    """Return the long tensors and some short ones, of every component."""
    names = [name for name in sorted(tensors) if not name.endswith(formulas.COPIED)]
    long = [name for name in names if tensors[name].size > CHUNK]
    assert {name.startswith(prefix) for name in long for prefix in COMPONENTS}
    assert len(long) == len(COMPONENTS)
    return [*long, *names[::60]]


def check(path, expected, values, formulas):
    """Compare tensors in float32; `expected` makes one of its name and its models."""
    found = formulas.values(path)
    for name in looked_at(found, formulas):
        a, b, c = (values[model][name] for model in "abc")
        result = expected(name, a, b, c)
        np.testing.assert_allclose(
            found[name], result, rtol=1.3e-7, atol=1e-11, err_msg=name
        )


@pytest.fixture(scope="module")
def by_component(tmp_path_factory, run_merge, options, models):
    """Each method in a component of its own, beside a model that is added."""
    path = tmp_path_factory.mktemp("methods") / "each.safetensors"
    run_merge(
        "0.5*only(slerp(a, b, 0.3), unet) + 0.5*only(c, unet)"
        "+ only(ties(a, b, c, density=0.3), clip_l)"
        "+ 2*only(add_cosine(a, b, 0.5), clip_g) - only(b, clip_g)"
        "+ only(dare(a, b, 0.4, 7), vae)",
        *options(models),
        "--to=fp32",
        f"--out={path}",
    )
    return path


def test_methods_in_cells_of_their_own_are_their_formulas(
    formulas, by_component, values
):
    def expected(name, a, b, c):
        if name.startswith(UNET):
            return 0.5 * formulas.slerp(a, b, 0.3) + 0.5 * c
        if name.startswith(CLIP_L):
            return formulas.ties(a, b, c, density=0.3)
        if name.startswith(CLIP_G):
            return 2 * formulas.add_cosine(a, b, 0.5) - b
        return formulas.dare(a, b, 0.4, 7, name)

    check(by_component, expected, values, formulas)


def test_methods_of_sums_and_of_methods_are_nested_formulas(
    merge, formulas, options, models, values
):
    """A method of a sum and a method, times block weights, plus a model."""
    done = merge(
        "0.5*mbw(a, slerp(a + 0.5*(b - c), dare(b, add_cosine(a, c, 0.2), 0.4, 11), "
        f"0.25), '{formulas.LIST}') + 0.5*c",
        *options(models),
        "--to=fp32",
    )

    def expected(name, a, b, c):
        inner = formulas.add_cosine(a, c, 0.2)
        other = formulas.dare(b, inner, 0.4, 11, name)
        arc = formulas.slerp(a + 0.5 * (b - c), other, 0.25)
        weight = float(formulas.weight_of(name))
        return 0.5 * ((1 - weight) * a + weight * arc) + 0.5 * c

    check(done.path("fp32"), expected, values, formulas)


def test_model_of_a_method_may_hold_a_lora(merge, formulas, models, values, here):
    """Where the LoRA says nothing, the method has the model without it."""
    name = f"{UNET}input_blocks.4.1.proj_in.weight"
    random = np.random.default_rng(5)
    up = random.integers(-9, 10, (600, 2)) / 64
    down = random.integers(-9, 10, (2, 500)) / 64
    module = "lora_unet_input_blocks_4_1_proj_in"
    style = here / "style.safetensors"
    safetensors.numpy.save_file(
        {
            f"{module}.lora_up.weight": up.astype(np.float32),
            f"{module}.lora_down.weight": down.astype(np.float32),
        },
        style,
    )
    given = [f"-ia={models['a']}", f"-ib={models['b']}", f"-is={style}"]

    done = merge("slerp(a + 0.5*lora(s), b, 0.25)", *given, "--to=fp32")

    def expected(each, a, b, _):
        changed = a + 0.5 * (up @ down) if each == name else a
        return formulas.slerp(changed, b, 0.25)

    check(done.path("fp32"), expected, values, formulas)


def test_where_no_method_is_used_the_sum_is_exact(
    merge, formulas, options, models, values
):
    """Block weights of 0 leave no trace of the method."""
    done = merge("mbw(a, ties(b, a, c, density=0.5), '0, OUT03=0.5')", *options(models))

    before, after = formulas.read(models["a"]), formulas.read(done.path())
    changed = {name for name in after if after[name] != before[name]}
    assert changed
    assert {formulas.block_of(name) for name in changed} == {"OUT3"}
    name = f"{UNET}output_blocks.3.1.transformer_blocks.0.attn1.to_q.weight"
    mean = formulas.ties(*(values[each][name] for each in "bac"), density=0.5)
    expected = 0.5 * values["a"][name] + 0.5 * mean
    assert after[name][2] == expected.astype(np.float16).tobytes()
