"""Every family gives what its formula says, written for whole matrices in float64."""

import numpy as np
import pytest

from release.formats.lora.places import Place
from release.formats.tensor import TensorEntry
from release.numeric.dtype import Dtype


def assert_rounded(found, expected):
    """Compare F32 values with float64 ones: the nearest, or beside it at a tie.

    Both sides round in float64, so a value near the middle may go either way.
    """
    spacing = np.spacing(np.abs(expected).astype(np.float32)).astype(np.float64)
    assert found.shape == expected.shape
    assert (np.abs(found - expected) <= spacing * 0.5000001).all()


def test_lora_is_up_times_down_times_alpha_over_rank(kit, stored, draw, to_values):
    up, down = stored(draw((24, 6)) * 0.1), stored(draw((6, 40)) * 0.1)
    alpha = np.array(4.0, "<f4")

    found = kit.change(
        {"m.lora_up.weight": up, "m.lora_down.weight": down, "m.alpha": alpha}, (24, 40)
    )

    assert_rounded(found, to_values(up) @ to_values(down) * (4 / 6))


@pytest.mark.parametrize(
    ("up_name", "down_name"),
    [
        ("lora_B.weight", "lora_A.weight"),
        ("lora_B.default.weight", "lora_A.default.weight"),
        ("lora.up.weight", "lora.down.weight"),
        ("lora_linear_layer.up.weight", "lora_linear_layer.down.weight"),
    ],
)
def test_every_spelling_of_the_factors_is_read(kit, draw, up_name, down_name):
    up, down = draw((5, 2)).astype("<f2"), draw((2, 7)).astype("<f2")

    found = kit.change({f"m.{up_name}": up, f"m.{down_name}": down}, (5, 7))

    assert_rounded(found, up.astype(float) @ down.astype(float))


def test_lora_without_alpha_has_the_factor_one(kit, draw):
    up, down = draw((24, 6)).astype("<f2"), draw((6, 40)).astype("<f2")

    found = kit.change({"m.lora_up.weight": up, "m.lora_down.weight": down}, (24, 40))

    exact = up.astype(float) @ down.astype(float)
    assert (found == exact.astype(np.float32)).all()


@pytest.mark.parametrize(
    "alpha",
    [
        np.array(3, "<i8"),
        np.array(3.0, "<f2"),
        np.array(3.0, "<f8"),
        np.array([3.0], "<f4"),
        np.array([0x4040], "<u2"),
    ],
)
def test_alpha_is_read_in_every_dtype_that_trainers_write(kit, alpha):
    up, down = np.full((2, 4), 0.5, "<f2"), np.full((4, 3), 0.25, "<f2")

    found = kit.change(
        {"m.lora_up.weight": up, "m.lora_down.weight": down, "m.alpha": alpha}, (2, 3)
    )

    assert (found == 0.5 * 0.25 * 4 * 3 / 4).all()


def test_negative_alpha_subtracts(kit):
    up, down = np.ones((2, 1), "<f2"), np.ones((1, 3), "<f2")
    alpha = np.array(-2.0, "<f4")

    found = kit.change(
        {"m.lora_up.weight": up, "m.lora_down.weight": down, "m.alpha": alpha}, (2, 3)
    )

    assert (found == -2.0).all()


def test_convolution_keeps_its_kernel(kit, stored, draw, to_values):
    up, down = stored(draw((8, 4, 1, 1))), stored(draw((4, 6, 3, 3)))

    found = kit.change(
        {"m.lora_up.weight": up, "m.lora_down.weight": down}, (8, 6, 3, 3)
    )

    expected = np.einsum("orxy,rikl->oikl", to_values(up), to_values(down))
    assert_rounded(found, expected)


def test_convolution_through_a_core(kit, stored, draw, to_values):
    up, down = stored(draw((8, 4, 1, 1))), stored(draw((4, 6, 1, 1)))
    mid = stored(draw((4, 4, 3, 3)))
    tensors = {
        "m.lora_up.weight": up,
        "m.lora_down.weight": down,
        "m.lora_mid.weight": mid,
        "m.alpha": np.array(2.0, "<f4"),
    }

    found = kit.change(tensors, (8, 6, 3, 3))

    product = np.einsum(
        "oi,ijkl,jc->ockl",
        to_values(up)[:, :, 0, 0],
        to_values(mid),
        to_values(down)[:, :, 0, 0],
    )
    assert_rounded(found, product * 0.5)


@pytest.mark.parametrize("shape", [(10, 12), (10, 12, 1, 1)])
@pytest.mark.parametrize("tail", [(), (1, 1)])
def test_projections_are_matrices_or_small_convolutions(kit, draw, shape, tail):
    up = draw((10, 3, *tail)).astype("<f2")
    down = draw((3, 12, *tail)).astype("<f2")

    found = kit.change({"m.lora_up.weight": up, "m.lora_down.weight": down}, shape)

    exact = up.reshape(10, 3).astype(float) @ down.reshape(3, 12).astype(float)
    assert_rounded(found, exact.reshape(shape))


def test_loha_is_the_elementwise_product_of_two_products(kit, stored, draw, to_values):
    factors = {
        "m.hada_w1_a": stored(draw((9, 3))),
        "m.hada_w1_b": stored(draw((3, 20))),
        "m.hada_w2_a": stored(draw((9, 3))),
        "m.hada_w2_b": stored(draw((3, 20))),
    }

    found = kit.change({**factors, "m.alpha": np.array(1.5, "<f4")}, (9, 20))

    w1a, w1b, w2a, w2b = (to_values(array) for array in factors.values())
    assert_rounded(found, (w1a @ w1b) * (w2a @ w2b) * 0.5)


def test_loha_of_a_convolution_has_its_kernel_in_the_columns(kit, draw, to_values):
    factors = {
        "m.hada_w1_a": draw((8, 3)).astype("<f4"),
        "m.hada_w1_b": draw((3, 5 * 9)).astype("<f4"),
        "m.hada_w2_a": draw((8, 3)).astype("<f4"),
        "m.hada_w2_b": draw((3, 5 * 9)).astype("<f4"),
    }

    found = kit.change(factors, (8, 5, 3, 3))

    w1a, w1b, w2a, w2b = (to_values(array) for array in factors.values())
    assert_rounded(found, ((w1a @ w1b) * (w2a @ w2b)).reshape(8, 5, 3, 3))


def test_loha_through_cores(kit, stored, draw, to_values):
    factors = {
        "m.hada_w1_a": stored(draw((3, 8))),
        "m.hada_w1_b": stored(draw((3, 5))),
        "m.hada_t1": stored(draw((3, 3, 2, 2))),
        "m.hada_w2_a": stored(draw((3, 8))),
        "m.hada_w2_b": stored(draw((3, 5))),
        "m.hada_t2": stored(draw((3, 3, 2, 2))),
    }

    found = kit.change({**factors, "m.alpha": np.array(6.0, "<f4")}, (8, 5, 2, 2))

    w1a, w1b, t1, w2a, w2b, t2 = (to_values(array) for array in factors.values())
    first = np.einsum("ijkl,jr,ip->prkl", t1, w1b, w1a)
    second = np.einsum("ijkl,jr,ip->prkl", t2, w2b, w2a)
    assert_rounded(found, first * second * 2.0)


def kron(first, second):
    """Return the Kronecker product with the kernel of the second kept."""
    (a, c), (b, d, *kernel) = first.shape, second.shape
    return np.einsum("ac,bdk->abcdk", first, second.reshape(b, d, -1)).reshape(
        a * b, c * d, *kernel
    )


@pytest.mark.parametrize("kernel", [(), (3, 3)])
def test_lokr_of_whole_halves_has_no_alpha(kit, stored, draw, to_values, kernel):
    w1, w2 = stored(draw((4, 2))), stored(draw((3, 5, *kernel)))
    alpha = np.array(7.0, "<f4")

    found = kit.change(
        {"m.lokr_w1": w1, "m.lokr_w2": w2, "m.alpha": alpha}, (12, 10, *kernel)
    )

    assert_rounded(found, kron(to_values(w1), to_values(w2)))


def test_lokr_of_products_is_divided_by_their_rank(kit, stored, draw, to_values):
    factors = {
        "m.lokr_w1_a": stored(draw((4, 3))),
        "m.lokr_w1_b": stored(draw((3, 2))),
        "m.lokr_w2_a": stored(draw((6, 3))),
        "m.lokr_w2_b": stored(draw((3, 5))),
    }

    found = kit.change({**factors, "m.alpha": np.array(6.0, "<f4")}, (24, 10))

    w1a, w1b, w2a, w2b = (to_values(array) for array in factors.values())
    assert_rounded(found, kron(w1a @ w1b, w2a @ w2b) * 2.0)


def test_lokr_of_a_product_and_a_whole_half(kit, stored, draw, to_values):
    factors = {
        "m.lokr_w1_a": stored(draw((4, 3))),
        "m.lokr_w1_b": stored(draw((3, 2))),
        "m.lokr_w2": stored(draw((6, 5))),
    }

    found = kit.change({**factors, "m.alpha": np.array(6.0, "<f4")}, (24, 10))

    w1a, w1b, w2 = (to_values(array) for array in factors.values())
    assert_rounded(found, kron(w1a @ w1b, w2) * 2.0)


def test_lokr_of_a_convolution(kit, draw, to_values):
    factors = {
        "m.lokr_w1": draw((4, 2)).astype("<f2"),
        "m.lokr_w2_a": draw((6, 3)).astype("<f2"),
        "m.lokr_w2_b": draw((3, 5, 3, 3)).astype("<f2"),
    }

    found = kit.change({**factors, "m.alpha": np.array(1.0, "<f4")}, (24, 10, 3, 3))

    w1, w2a, w2b = (to_values(array) for array in factors.values())
    second = (w2a @ w2b.reshape(3, -1)).reshape(6, 5, 3, 3)
    assert_rounded(found, kron(w1, second) / 3)


def test_lokr_through_a_core(kit, stored, draw, to_values):
    factors = {
        "m.lokr_w1": stored(draw((4, 2))),
        "m.lokr_w2_a": stored(draw((3, 6))),
        "m.lokr_w2_b": stored(draw((3, 5))),
        "m.lokr_t2": stored(draw((3, 3, 2, 2))),
    }

    found = kit.change({**factors, "m.alpha": np.array(1.5, "<f4")}, (24, 10, 2, 2))

    w1, w2a, w2b, t2 = (to_values(array) for array in factors.values())
    second = np.einsum("ijkl,jr,ip->prkl", t2, w2b, w2a)
    assert_rounded(found, kron(w1, second) * 0.5)


def test_full_difference_and_bias_stand_as_they_are(kit, stored, draw, to_values):
    diff, bias = stored(draw((6, 5, 3, 3))), stored(draw(6))
    model = {"w.weight": (6, 5, 3, 3), "w.bias": (6,)}

    with kit.open({"m.diff": diff, "m.diff_b": bias}, model) as lora:
        weight_change, bias_change = (kit.whole(lora, name) for name in model)

    assert (weight_change == to_values(diff)).all()
    assert (bias_change == to_values(bias)).all()


def test_norms_of_lycoris_are_differences(kit, draw):
    weight, bias = draw(6).astype("<f2"), draw(6).astype("<f2")
    model = {"w.weight": (6,), "w.bias": (6,)}

    with kit.open({"m.w_norm": weight, "m.b_norm": bias}, model) as lora:
        changes = [kit.whole(lora, name) for name in model]

    assert (changes[0] == weight).all()
    assert (changes[1] == bias).all()


def test_lora_may_change_the_bias_too(kit, draw):
    up, down = draw((5, 2)).astype("<f2"), draw((2, 7)).astype("<f2")
    bias = draw(5).astype("<f2")
    tensors = {"m.lora_up.weight": up, "m.lora_down.weight": down, "m.diff_b": bias}

    with kit.open(tensors, {"w.weight": (5, 7), "w.bias": (5,)}) as lora:
        assert (kit.whole(lora, "w.bias") == bias).all()
        assert len(lora.tensors) == 2


PACKED = {
    name: (Place("in_proj_weight", part, 3),)
    for part, name in enumerate(("q.weight", "k.weight", "v.weight"))
}


def test_packed_tensor_is_assembled_and_what_is_missing_is_zero(kit, draw):
    q = draw((4, 2)).astype("<f2"), draw((2, 6)).astype("<f2")
    v = draw((4, 3)).astype("<f2"), draw((3, 6)).astype("<f2")
    tensors = {
        "v.lora_up.weight": v[0],
        "v.lora_down.weight": v[1],
        "q.lora_up.weight": q[0],
        "q.lora_down.weight": q[1],
        "q.alpha": np.array(1.0, "<f4"),
    }

    with kit.open(tensors, {"in_proj_weight": (12, 6)}, PACKED) as lora:
        found = kit.whole(lora, "in_proj_weight")

    assert_rounded(found[:4], q[0].astype(float) @ q[1].astype(float) / 2)
    assert (found[4:8] == 0.0).all()
    assert_rounded(found[8:], v[0].astype(float) @ v[1].astype(float))


@pytest.mark.parametrize("family", ["lora", "diff"])
def test_matrix_that_the_model_stores_transposed(kit, draw, family):
    up, down = draw((4, 2)).astype("<f2"), draw((2, 6)).astype("<f2")
    product = up.astype(float) @ down.astype(float)
    tensors = {
        "lora": {"p.lora_up.weight": up, "p.lora_down.weight": down},
        "diff": {"p.diff": product.astype("<f4")},
    }
    names = {"p.weight": (Place("text_projection", transposed=True),)}

    with kit.open(tensors[family], {"text_projection": (6, 4)}, names) as lora:
        found = kit.whole(lora, "text_projection")

    assert_rounded(found, product.T.astype(np.float32).astype(float))


def test_tensors_are_in_the_order_of_the_model_and_without_holes(kit):
    ones = np.ones((2, 2), "<f2")
    model = {"a.weight": (2, 2), "b.weight": (2, 2), "c.weight": (2, 2)}
    names = {name: (Place(name),) for name in model}

    with kit.open({"c.diff": ones, "a.diff": ones}, model, names) as lora:
        assert list(lora.tensors.values()) == [
            TensorEntry("a.weight", Dtype.F32, (2, 2), 0, 16),
            TensorEntry("c.weight", Dtype.F32, (2, 2), 16, 32),
        ]


def test_file_is_named_with_its_metadata_and_size(kit):
    tensors = {"m.diff": np.ones((2, 2), "<f2")}

    with kit.open(tensors, {"w.weight": (2, 2)}, metadata={"ss_tag": "x"}) as lora:
        assert lora.path == kit.path
        assert lora.files == (kit.path,)
        assert lora.metadata == {"ss_tag": "x"}
        assert lora.nbytes == kit.path.stat().st_size
        assert lora.warnings == ()
        lora.check_unchanged()
