"""What is refused before and while a method computes, and what each needs."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from release.engine.methods.prepare import check_call, needs, prepare
from release.engine.methods.seam import Need, NotFiniteError
from release.errors import RecipeError
from release.recipe.functions import METHODS

GOOD = {
    "slerp": {"t": "0.5"},
    "add_cosine": {"alpha": "0.5"},
    "dare": {"density": "0.5", "seed": "1", "lambda": "1"},
    "ties": {"density": "0.5", "lambda": "1"},
}


def exact(parameters):
    return {key: Fraction(value) for key, value in parameters.items()}


def never():
    raise AssertionError
    yield


@pytest.mark.parametrize("kind", METHODS)
def test_every_method_of_the_language_can_be_called(kind):
    assert check_call(kind, exact(GOOD[kind]), n_models=2) == ""
    assert isinstance(needs(kind), Need)


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("slerp", {"t": "-0.1"}),
        ("slerp", {"t": "1.1"}),
        ("slerp", {"t": "0.5", "eps": "1"}),
        ("add_cosine", {"alpha": "2"}),
        ("dare", {"density": "0"}),
        ("dare", {"density": "1.5"}),
        ("dare", {"density": "-1"}),
        ("dare", {"seed": "-1"}),
        ("dare", {"seed": "0.5"}),
        ("dare", {"seed": str(2**63)}),
        ("dare", {"lambda": "1000001"}),
        ("ties", {"density": "0"}),
        ("ties", {"lambda": "-1000001"}),
    ],
)
def test_number_out_of_its_range_is_refused(kind, changed):
    parameters = exact(GOOD[kind] | changed)

    with pytest.raises(RecipeError) as refusal:
        prepare(kind, parameters, shape=(3,), name="tensor", n_models=2, sweep=never)

    assert refusal.value.code == "method-parameter"
    assert kind in str(refusal.value)


@pytest.mark.parametrize(
    ("kind", "n_models"), [("slerp", 1), ("slerp", 3), ("dare", 3), ("ties", 1)]
)
def test_wrong_number_of_models_is_refused(kind, n_models):
    message = check_call(kind, exact(GOOD[kind]), n_models=n_models)

    assert f"{kind}: got {n_models} models, expected {kind}(" in message


def test_missing_number_and_unknown_method_are_refused():
    assert "missing seed" in check_call(
        "dare", exact({"density": "0.5", "lambda": "1"}), n_models=2
    )
    assert "unknown method 'task\\u0007'" in check_call("task\a", {}, n_models=2)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("argument", [0, 1])
def test_value_that_is_not_finite_is_named(merge, weights, kind, argument, bad):
    models = weights(50, 60)
    models[argument].reshape(-1)[2345] = bad
    parameters = {key + "_": value for key, value in GOOD[kind].items()}

    with pytest.raises(NotFiniteError) as found:
        merge(kind, models, **parameters)

    assert (found.value.argument, found.value.element) == (argument, 2345)


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("dare", {}),
        ("slerp", {"t": "0"}),
        ("ties", {"density": "1"}),
        ("add_cosine", {}),
    ],
)
def test_tensor_that_needs_no_reading_is_not_read(kind, changed):
    prepared = prepare(
        kind,
        exact(GOOD[kind] | changed),
        shape=(1, 3),
        name="tensor",
        n_models=2,
        sweep=never,
    )
    out = torch.empty(3, dtype=torch.float64)

    prepared.apply(0, [torch.ones_like(out), torch.ones_like(out)], out)

    assert out.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("kind", METHODS)
def test_empty_tensor_is_no_trouble(kind):
    prepared = prepare(
        kind,
        exact(GOOD[kind]),
        shape=(4, 0),
        name="tensor",
        n_models=2,
        sweep=lambda: iter(()),
    )
    empty = [torch.empty(0, dtype=torch.float64) for _ in range(3)]

    prepared.apply(0, empty[:2], empty[2])


@pytest.mark.parametrize("kind", METHODS)
def test_threads_change_no_bit(merge, weights, kind):
    models = weights(300, 400)
    parameters = {key + "_": value for key, value in GOOD[kind].items()}
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        results.append(merge(kind, models, cut=120_000, **parameters))
    torch.set_num_threads(before)

    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])
