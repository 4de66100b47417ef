"""Methods as nodes: what is folded into them, and around them."""

from collections.abc import Callable, Mapping
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from release.recipe.cells import Cell, Part
from release.recipe.fold import fold
from release.recipe.functions import METHODS
from release.recipe.rows import FoldedRecipe, MethodNode, is_method
from release.recipe.text import Origin, recipe_of_expression

Fold = Callable[..., FoldedRecipe]
HALF = Fraction(1, 2)
ALPHA = Fraction(3, 10)


def test_result_of_a_method_is_a_leaf_of_the_rows(folded: Fold) -> None:
    recipe = folded("0.5*slerp(a, b, 0.3) + 0.5*c")
    assert recipe.leaves == ("a", "b", "c", "slerp#1")
    assert set(map(str, recipe.rows.values())) == {str({"c": HALF, "slerp#1": HALF})}
    (node,) = recipe.methods
    assert (node.name, node.method) == ("slerp#1", "slerp")
    assert node.parameters == {"t": ALPHA}
    assert [set(map(str, rows.values())) for rows in node.models] == [
        {str({"a": Fraction(1)})},
        {str({"b": Fraction(1)})},
    ]
    assert node.models[0].keys() == recipe.rows.keys()


def test_models_of_a_method_are_rows_per_cell(folded: Fold) -> None:
    (node,) = folded("slerp(mbw(a, b, '0, OUT03=0.5; vae=1'), c, 0.3)").methods
    model = node.models[0]
    assert model[Cell("OUT03", Part.UNET)] == {"a": HALF, "b": HALF}
    assert model[Cell("BASE", Part.VAE)] == {"b": 1}
    assert model[Cell("BASE", Part.CLIP_L)] == {"a": 1}


def test_method_inside_a_method_comes_first(folded: Fold) -> None:
    recipe = folded("slerp(dare(a, b, 0.5, 1), add_cosine(slerp(a, c, 0.1), b, 0), 1)")
    names = [node.name for node in recipe.methods]
    assert (set(names[:2]), names[2:]) == (
        {"dare#1", "slerp#1"},
        ["add_cosine#1", "slerp#2"],
    )
    seen = set("abc")
    for node in recipe.methods:
        used = {leaf for rows in node.models for row in rows.values() for leaf in row}
        assert used <= seen
        seen.add(node.name)


def test_equal_calls_are_one_node(folded: Fold) -> None:
    steps = {"x": "slerp(a, b, 0.3)", "s": "0.5*x + 0.25*slerp(a, b, t=0.30) + 0.25*c"}
    recipe = folded(steps)
    assert len(recipe.methods) == 1
    assert recipe.row("x")["slerp#1"] == Fraction(3, 4)


def test_calls_that_differ_are_numbered(folded: Fold) -> None:
    recipe = folded("0.5*slerp(a, b, 0.3) + 0.5*slerp(a, c, 0.3)")
    assert [node.name for node in recipe.methods] == ["slerp#1", "slerp#2"]


def test_call_that_cancels_out_is_no_node(folded: Fold) -> None:
    recipe = folded("a + slerp(a, b, 0.3) - slerp(a, b, 0.3)", "ab")
    assert recipe.methods == ()
    assert recipe.ingredients == ("a",)
    assert recipe.warnings == ("b cancels out",)


def test_node_has_the_cells_in_which_it_is_used(folded: Fold) -> None:
    text = "only(slerp(only(a, OUT03), b, 0.3), OUT03) + a - only(a, OUT03)"
    recipe = folded(text, "ab")
    (node,) = recipe.methods
    assert [set(rows) for rows in node.models] == [{Cell("OUT03", Part.UNET)}] * 2
    assert recipe.row("model.diffusion_model.out.0.weight") == {"a": 1}


def test_copied_vae_takes_its_cells_from_a_method(folded: Fold) -> None:
    recipe = folded("slerp(a, b, 0.3)", "ab", vae="b")
    (node,) = recipe.methods
    assert Part.VAE not in {cell.part for cell in node.models[0]}


def test_parameters_are_complete_exact_and_in_order(folded: Fold) -> None:
    (node,) = folded("dare(a, b, seed=9007199254740993, density=0.1)", "ab").methods
    assert list(node.parameters.items()) == [
        ("density", Fraction(1, 10)),
        ("seed", 2**53 + 1),
        ("lambda", 1),
    ]


def test_method_counts_as_a_model_in_the_sum(folded: Fold) -> None:
    assert folded("slerp(a, b, 0.3) + lora(c)").warnings == ()
    (warning,) = folded("slerp(a, b, 0.3) + c").warnings
    assert "sum to 2" in warning


@pytest.mark.parametrize("name", METHODS)
def test_name_of_a_leaf_tells_a_method(name: str) -> None:
    assert is_method(f"{name}#1")
    assert not is_method(name)


# Methods as functions of numbers: a folded recipe and the written one must agree.
def _method(name: str, parameters: list[Fraction], models: list[Fraction]) -> Fraction:
    total = Fraction(len(name))
    for at, value in enumerate([*parameters, *models], 1):
        total += at * value * value
    return total


def _evaluated(recipe: FoldedRecipe, env: dict[str, Fraction], tensor: str) -> Fraction:
    cell = recipe.convention.cell_of(tensor)
    known = dict(env)

    def value(node: MethodNode) -> Fraction:
        models = [_sum(rows[cell], known) for rows in node.models]
        return _method(node.method, list(node.parameters.values()), models)

    for node in recipe.methods:
        if cell in node.models[0]:
            known[node.name] = value(node)
    return _sum(recipe.rows[cell], known)


def _sum(row: Mapping[str, Fraction], env: dict[str, Fraction]) -> Fraction:
    return sum((env[leaf] * weight for leaf, weight in row.items()), Fraction(0))


Built = tuple[str, Callable[[dict[str, Fraction]], Fraction]]


def _called(parts: tuple[Built, Built, int]) -> Built:
    (a, value_a), (b, value_b), number = parts
    t = Fraction(number, 100)
    return (
        f"slerp({a}, {b}, {number / 100:.2f})",
        lambda env: _method("slerp", [t], [value_a(env), value_b(env)]),
    )


def _dared(parts: tuple[Built, Built, int]) -> Built:
    (a, value_a), (b, value_b), seed = parts
    numbers = [HALF, Fraction(seed), Fraction(2)]
    return (
        f"dare({a}, {b}, 0.5, {seed}, lambda=2)",
        lambda env: _method("dare", numbers, [value_a(env), value_b(env)]),
    )


def _mixed(parts: tuple[Built, Built, int]) -> Built:
    (a, value_a), (b, value_b), number = parts
    t = Fraction(number, 100)
    return (
        f"lerp({a}, {b}, {number / 100:.2f})",
        lambda env: (1 - t) * value_a(env) + t * value_b(env),
    )


def _grown(inner: st.SearchStrategy[Built]) -> st.SearchStrategy[Built]:
    parts = st.tuples(inner, inner, st.integers(0, 100))
    return st.one_of(parts.map(_called), parts.map(_dared), parts.map(_mixed))


LEAVES = st.sampled_from("ab").map(lambda name: (name, lambda env: env[name]))
VALUES = st.fractions(min_value=-2, max_value=2, max_denominator=8)


@settings(max_examples=80, deadline=None)
@given(built=st.recursive(LEAVES, _grown, max_leaves=6), a=VALUES, b=VALUES)
def test_folded_methods_equal_the_expression_evaluated(
    built: Built, a: Fraction, b: Fraction
) -> None:
    text, value = built
    ingredients = {"anchor": Origin(), "a": Origin(), "b": Origin()}
    recipe = fold(recipe_of_expression(f"{text} + anchor + 0*a + 0*b", ingredients))
    env = {"a": a, "b": b, "anchor": Fraction(7)}
    assert _evaluated(recipe, env, "first_stage_model.x.weight") == value(env) + 7
