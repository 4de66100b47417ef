"""The arithmetic of one tensor: sums, one rounding, and values that are refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from release.engine.kernel import CHUNK_ELEMENTS
from release.errors import ValueRangeError
from release.numeric.dtype import Dtype

SOURCES = [
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
]
COEFFICIENTS = st.floats(-4, 4) | st.sampled_from([0.0, 1.0, -1.0, 0.1])


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    terms=st.lists(
        st.tuples(st.sampled_from(SOURCES), COEFFICIENTS), min_size=1, max_size=4
    ),
)
def test_any_linear_combination_is_numpys_in_float64(new_workshop, seed, terms):
    generator = torch.Generator().manual_seed(seed)
    ingredients = {
        f"i{at}": {"w": torch.randn(500, generator=generator).to(dtype)}
        for at, (dtype, _) in enumerate(terms)
    }
    row = {f"i{at}": coefficient for at, (_, coefficient) in enumerate(terms)}
    expected = np.zeros(500)
    for name, coefficient in row.items():
        values = ingredients[name]["w"].to(torch.float64).numpy()
        expected = expected + coefficient * values

    with new_workshop() as workshop:
        plan = workshop.plan(ingredients, row, Dtype.F32, Dtype.F16)
        workshop.run(plan)
        wide, half = workshop.load(Dtype.F32)["w"], workshop.load(Dtype.F16)["w"]

    assert np.array_equal(wide.numpy(), expected.astype(np.float32))
    assert np.array_equal(half.numpy(), expected.astype(np.float16))


def test_tensor_of_several_chunks_is_summed_throughout(workshop):
    count = 2 * CHUNK_ELEMENTS + 17
    a, b = torch.randn(count), torch.randn(count)
    ingredients = {"a": {"w": a}, "b": {"w": b}}
    plan = workshop.plan(ingredients, {"a": 0.3, "b": 0.7}, Dtype.F16)

    workshop.run(plan)

    exact = 0.3 * a.double().numpy() + 0.7 * b.double().numpy()
    found = workshop.load(Dtype.F16)["w"].numpy()
    assert np.array_equal(found, exact.astype(np.float16))


def test_tensor_whose_coefficients_are_all_zero_is_zero(workshop):
    ones = {"a": torch.ones(100), "b": torch.ones(100)}
    plan = workshop.plan({"x": ones}, {"x": 2.0}, Dtype.F32)
    first, second = plan.jobs
    silent = tuple(replace(operand, coefficient=0.0) for operand in second.operands)
    changed = replace(plan, jobs=(first, replace(second, operands=silent)))

    workshop.run(changed, threads=1)

    found = workshop.load(Dtype.F32)
    assert found[first.name].eq(2).all()
    assert not found[second.name].any()


def test_one_rounding_where_two_would_differ(workshop):
    # Just above the middle of two float16 neighbours, by less than float32 can say.
    w = torch.tensor([1 + 2.0**-11 + 2.0**-40], dtype=torch.float64)

    workshop.run(workshop.plan({"x": {"w": w}}, {"x": 1.0}, Dtype.F16, Dtype.F8_E4M3))

    assert workshop.load(Dtype.F16)["w"].item() == 1 + 2.0**-10


def test_copied_tensors_keep_every_bit_whatever_their_dtype(workshop):
    ids = torch.arange(77).view(1, 77)
    odd = torch.tensor([float("nan"), -0.0, 1e-40])
    tensors = {"ids": ids, "odd": odd, "w": torch.ones(3)}

    plan = workshop.plan({"x": tensors}, {"x": 1.0}, Dtype.F16, copied={"ids", "odd"})
    workshop.run(plan)

    found = workshop.load(Dtype.F16)
    assert torch.equal(found["ids"], ids)
    assert torch.equal(found["odd"].view(torch.int32), odd.view(torch.int32))
    assert found["w"].dtype == torch.float16


def test_empty_tensors_and_scalars_come_through(workshop):
    tensors = {"none": torch.zeros(0, 4), "one": torch.tensor(1.5)}

    workshop.run(workshop.plan({"x": tensors}, {"x": 2.0}, Dtype.F16))

    found = workshop.load(Dtype.F16)
    assert found["none"].shape == (0, 4)
    assert found["one"].shape == ()
    assert found["one"].item() == 3.0


def refused(workshop, plan):
    with pytest.raises(ValueRangeError) as caught:
        workshop.run(plan)
    assert caught.value.exit_code == 4
    assert caught.value.code == "values"
    assert caught.value.hint
    assert list(workshop.out.iterdir()) == []
    return str(caught.value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), "NaN"),
        (float("inf"), "infinity"),
        (float("-inf"), "infinity"),
    ],
)
def test_value_that_is_not_finite_is_named_with_ingredient_and_place(
    workshop, value, words
):
    bad = torch.ones(CHUNK_ELEMENTS + 10)
    bad[CHUNK_ELEMENTS + 3] = value
    good = {"some.weight": torch.ones_like(bad)}
    ingredients = {"left": good, "right": {"some.weight": bad}}

    plan = workshop.plan(ingredients, {"left": 1.0, "right": 0.5}, Dtype.F16)
    message = refused(workshop, plan)

    assert message == (
        f"{plan.ingredients[1].checkpoint.path}: 1 of 1 tensors cannot be written: "
        f"some.weight (right holds {words} at element {CHUNK_ELEMENTS + 3:,})"
    )


def test_first_five_of_many_bad_tensors_are_named_and_the_rest_counted(workshop):
    bad = {f"w{n}": torch.full((4,), float("nan")) for n in range(8)}
    good = {"fine": torch.ones(4)}

    message = refused(
        workshop, workshop.plan({"x": {**bad, **good}}, {"x": 1.0}, Dtype.F16)
    )

    assert "8 of 9 tensors" in message
    named = [f"w{n} (x holds NaN" in message for n in range(8)]
    assert named == 5 * [True] + 3 * [False]
    assert message.endswith("and 3 more")


def test_bad_value_of_an_ingredient_that_has_no_part_does_no_harm(workshop):
    ingredients = {
        "x": {"w": torch.ones(4)},
        "y": {"w": torch.full((4,), float("nan"))},
    }

    workshop.run(workshop.plan(ingredients, {"x": 1.0, "y": 0.0}, Dtype.F16))

    assert workshop.load(Dtype.F16)["w"].eq(1).all()


LARGEST = {
    Dtype.F16: 65504.0,
    Dtype.BF16: float.fromhex("0x1.fep127"),
    Dtype.F32: float.fromhex("0x1.fffffep127"),
}
HALF_STEP = {
    Dtype.F16: 16.0,
    Dtype.BF16: float.fromhex("0x1p119"),
    Dtype.F32: float.fromhex("0x1p103"),
}


@pytest.mark.parametrize("dtype", LARGEST)
def test_result_that_rounds_to_infinity_is_refused(workshop, dtype):
    w = torch.tensor([-(LARGEST[dtype] + HALF_STEP[dtype])], dtype=torch.float64)

    message = refused(workshop, workshop.plan({"x": {"w": w}}, {"x": 1.0}, dtype))

    assert f"beyond {dtype.code}'s" in message


@pytest.mark.parametrize("dtype", LARGEST)
def test_result_that_rounds_to_the_largest_value_is_written(workshop, dtype):
    just_below = np.nextafter(LARGEST[dtype] + HALF_STEP[dtype], 0)
    w = torch.tensor([just_below, -just_below], dtype=torch.float64)

    workshop.run(workshop.plan({"x": {"w": w}}, {"x": 1.0}, dtype))

    found = workshop.load(dtype)["w"].to(torch.float64).tolist()
    assert found == [LARGEST[dtype], -LARGEST[dtype]]


def test_float64_beyond_float32_is_not_called_infinity(workshop):
    w = torch.tensor([1e300], dtype=torch.float64)

    message = refused(workshop, workshop.plan({"x": {"w": w}}, {"x": 1.0}, Dtype.F32))

    assert "x holds" not in message
    assert "beyond float32's range" in message


@pytest.mark.parametrize("dtype", [Dtype.F8_E4M3, Dtype.F8_E5M2])
def test_fp8_clamps_to_its_finite_range(workshop, dtype):
    limit = {Dtype.F8_E4M3: 448.0, Dtype.F8_E5M2: 57344.0}[dtype]
    w = torch.tensor([1e30, -1e30, limit + 1])

    workshop.run(workshop.plan({"x": {"w": w}}, {"x": 1.0}, dtype))

    assert workshop.load(dtype)["w"].float().tolist() == [limit, -limit, limit]


def test_integer_buffers_that_differ_are_refused_by_name(workshop):
    ingredients = {
        "a": {"position_ids": torch.arange(77)},
        "b": {"position_ids": torch.arange(1, 78)},
    }
    plan = workshop.plan(
        ingredients, {"a": 1.0, "b": 0.0}, Dtype.F16, copied={"position_ids"}
    )

    message = refused(workshop, plan)

    assert "position_ids (differs between a and b)" in message


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_position_ids_that_a_merger_made_floats_are_compared_by_value(workshop, shift):
    ids = torch.arange(77)
    ingredients = {
        "a": {"position_ids": ids},
        "b": {"position_ids": ids.to(torch.float16) + shift},
    }
    plan = workshop.plan(
        ingredients, {"a": 1.0, "b": 0.0}, Dtype.F16, copied={"position_ids"}
    )

    if shift:
        assert "differs between a and b" in refused(workshop, plan)
    else:
        workshop.run(plan)
        assert torch.equal(workshop.load(Dtype.F16)["position_ids"], ids)
