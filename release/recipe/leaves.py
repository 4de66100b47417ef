"""From method calls to the leaves of a folded recipe.

While a recipe is folded a call is known by where it was written. Here calls become
leaves that depend on their meaning alone: a call whose result is used nowhere is
dropped, equal calls are one, and names are given by contents.
"""

import json
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from release.numeric.digest import sha256
from release.recipe.cells import Cell
from release.recipe.decimals import decimal_text
from release.recipe.form import Form
from release.recipe.functions import METHODS
from release.recipe.rows import CellRows, MethodNode, Row, decimals
from release.recipe.tokens import Place
from release.recipe.tree import MethodCall


@dataclass(frozen=True, slots=True)
class Call:
    """A method call: where it was written, and its models' forms in every cell."""

    place: Place
    tree: MethodCall
    models: Mapping[Cell, tuple[Form, ...]]


@dataclass(frozen=True, slots=True)
class _Known:
    """A call by its meaning; `depth` is how many calls are inside one another."""

    depth: int
    digest: str
    models: tuple[Mapping[Cell, Form], ...]


def name_methods(
    rows: Mapping[Cell, Form], calls: Mapping[str, Call], *, loras: Collection[str]
) -> tuple[CellRows, tuple[MethodNode, ...]]:
    """Return the rows and the methods over leaves with their final names.

    Args:
        rows: The result's form in every cell, over ingredients and sites of calls.
        calls: Site -> call, each after those inside it.
        loras: Ingredients that are LoRAs.

    Raises:
        RecipeError: Code "method-argument": a model of a call that is used is a
            difference, or a sum of several models.
    """
    rows, calls = _without_copies(rows, calls)
    live = _live_cells(rows, calls)
    for name, cells in live.items():
        _check_models(calls[name], cells, loras)
    known: dict[str, _Known] = {}
    for name, call in calls.items():
        if name in live:
            known[name] = _known(call, live[name], known)
    equal: dict[tuple[int, str], list[str]] = {}
    for name, each in known.items():
        equal.setdefault((each.depth, each.digest), []).append(name)
    names: dict[str, str] = {}
    numbers: Counter[str] = Counter()
    nodes: list[MethodNode] = []
    for _, sites in sorted(equal.items()):
        tree = calls[sites[0]].tree
        numbers[tree.method] += 1
        leaf = f"{tree.method}#{numbers[tree.method]}"
        models = tuple(_renamed(forms, names) for forms in known[sites[0]].models)
        nodes.append(MethodNode(leaf, tree.method, dict(tree.parameters), models))
        names |= dict.fromkeys(sites, leaf)
    return _renamed(rows, names), tuple(nodes)


def _without_copies(
    rows: Mapping[Cell, Form], calls: Mapping[str, Call]
) -> tuple[Mapping[Cell, Form], Mapping[str, Call]]:
    """Return the same with equal calls as one, so that they may cancel each other."""
    first: dict[Hashable, str] = {}
    alias: dict[str, str] = {}
    kept: dict[str, Call] = {}
    for name, call in calls.items():
        models = {
            cell: tuple(_aliased(form, alias) for form in forms)
            for cell, forms in call.models.items()
        }
        meaning = (
            call.tree.method,
            call.tree.parameters,
            tuple(
                tuple(tuple(sorted(form.items())) for form in forms)
                for forms in models.values()
            ),
        )
        alias[name] = first.setdefault(meaning, name)
        if alias[name] == name:
            kept[name] = replace(call, models=models)
    return {cell: _aliased(form, alias) for cell, form in rows.items()}, kept


def _aliased(form: Form, alias: Mapping[str, str]) -> Form:
    """Return a form with leaves renamed and without zeros."""
    total: dict[str, Fraction] = {}
    for leaf, value in form.items():
        name = alias.get(leaf, leaf)
        total[name] = total.get(name, Fraction(0)) + value
    return {leaf: value for leaf, value in total.items() if value}


def _live_cells(
    rows: Mapping[Cell, Form], calls: Mapping[str, Call]
) -> dict[str, set[Cell]]:
    """Return the calls whose result is used, and the cells in which it is."""
    live: dict[str, set[Cell]] = {}
    for cell, form in rows.items():
        waiting = list(_used_calls(form, calls))
        while waiting:
            name = waiting.pop()
            cells = live.setdefault(name, set())
            if cell not in cells:
                cells.add(cell)
                for model in calls[name].models[cell]:
                    waiting.extend(_used_calls(model, calls))
    return live


def _used_calls(form: Form, calls: Mapping[str, Call]) -> Iterable[str]:
    return (leaf for leaf in form if leaf in calls)


def _check_models(call: Call, cells: set[Cell], loras: Collection[str]) -> None:
    for at, tree in enumerate(call.tree.models):
        for cell, models in call.models.items():
            if cell not in cells:
                continue
            kept = (value for leaf, value in models[at].items() if leaf not in loras)
            total = sum(kept, Fraction(0))
            if total != 1:
                raise call.place.error(
                    tree.column,
                    f"model {at + 1} of {call.tree.method} is no model in"
                    f" {cell.label}: its coefficients sum to {decimal_text(total)},"
                    " not 1",
                    code="method-argument",
                    hint=f"{METHODS[call.tree.method].signature} takes whole models;"
                    " add a difference or a LoRA to one: a + lora(x)",
                )


def _known(call: Call, live: set[Cell], before: Mapping[str, _Known]) -> _Known:
    cells = [cell for cell in call.models if cell in live]
    models = tuple(
        {cell: call.models[cell][at] for cell in cells}
        for at in range(len(call.tree.models))
    )
    used = {
        leaf
        for forms in models
        for form in forms.values()
        for leaf in form
        if leaf in before
    }
    digests = {leaf: before[leaf].digest for leaf in used}
    parameters = {name: decimal_text(value) for name, value in call.tree.parameters}
    content = [
        call.tree.method,
        parameters,
        [decimals(_renamed(forms, digests)) for forms in models],
    ]
    depth = 1 + max((before[leaf].depth for leaf in used), default=0)
    text = json.dumps(content, sort_keys=True)
    return _Known(depth, sha256(text.encode("ascii")), models)


def _renamed(forms: Mapping[Cell, Form], names: Mapping[str, str]) -> dict[Cell, Row]:
    """Return the forms as rows: calls renamed, no zeros, ingredients first."""
    places = {name: at for at, name in enumerate(dict.fromkeys(names.values()), 1)}
    rows: dict[Cell, Row] = {}
    for cell, form in forms.items():
        total = _aliased(form, names)
        kept = [(places.get(name, 0), name, value) for name, value in total.items()]
        rows[cell] = {name: value for _, name, value in sorted(kept)}
    return rows
