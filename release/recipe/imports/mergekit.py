"""Configurations of mergekit, for `mergekit-pytorch` or `mergekit-yaml`.

Source:
    mergekit 0.1.5, `config.py` and `merge_methods/`. linear: arXiv:2203.05482.
    task_arithmetic: arXiv:2212.04089.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from release.errors import RecipeError, visible
from release.recipe.cells import Cell
from release.recipe.conventions import SD_MECHA
from release.recipe.functions import NEAR_METHODS, SIGNATURES
from release.recipe.imports.foreign import rounded
from release.recipe.imports.imported import (
    MAX_INGREDIENTS,
    OUTPUT,
    PART,
    Imported,
    IngredientNames,
    file_name,
)
from release.recipe.imports.settings import by_cell, read_setting
from release.recipe.imports.terms import check_length, scaled
from release.recipe.imports.yaml_text import Yaml, read_yaml

ORIGIN: Final = "mergekit"

_LINEAR: Final = "linear"
_TASK: Final = "task_arithmetic"
_KNOWN: Final = (
    "models",
    "merge_method",
    "base_model",
    "parameters",
    "dtype",
    "out_dtype",
    "tokenizer_source",
    "tokenizer",
    "chat_template",
    "name",
)
_PARAMETERS: Final = {
    _LINEAR: ("weight", "normalize"),
    _TASK: ("weight", "normalize", "lambda"),
}
_DTYPES: Final = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
}
_HUB: Final = re.compile(
    r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[A-Za-z0-9][\w.-]*)?", re.ASCII
)
_LOCAL: Final = re.compile(r"^[./~]|\\|\.(safetensors|ckpt|pth?|bin)$")
_ARCHITECTURE_NOTE: Final = (
    "a mergekit configuration does not say of which architecture the models are; SDXL"
    " is taken for granted"
)
_TINY: Final = Fraction(1, 10**8)

Numbers = Mapping[Cell, Fraction]


@dataclass(frozen=True, slots=True)
class _Model:
    """A model of the configuration; `place` is its key path."""

    reference: str
    parameters: Mapping[str, Yaml]
    place: str


def import_mergekit(text: str) -> Imported:
    """Return the recipe that a mergekit configuration says.

    Raises:
        RecipeError: Code "import-yaml", "import-method", "import-setting",
            "import-filter", "import-number", "import-field" or "import-too-large";
            the message begins with the key path.
    """
    document = read_yaml(text)
    method = _method(document)
    _check_keys(document)
    shared = _mapping(document.get("parameters"), "parameters")
    models = _models(document)
    for model in models:
        _check_parameters(model.parameters, method, f"{model.place}.parameters")
    _check_parameters(shared, method, "parameters")
    base = document.get("base_model")
    if not isinstance(base, str | None):
        raise _field("base_model", "expected a path or a repository on the Hub")
    if method == _TASK and base is None:
        raise _field("base_model", "is missing, which task_arithmetic needs")
    if base is not None and all(model.reference != base for model in models):
        models.append(_Model(base, {}, "base_model"))
    weights = _coefficients(method, models, shared, base)
    return _imported(document, models, weights)


def _method(document: Mapping[str, Yaml]) -> str:
    method = document.get("merge_method")
    if method in _PARAMETERS and isinstance(method, str):
        return method
    near = NEAR_METHODS.get(str(method), str(method))
    hint = "this merge cannot be said exactly in a recipe"
    if near in SIGNATURES:
        hint = f"not the same mathematics as {SIGNATURES[near]}, but near to it"
    raise RecipeError(
        f"merge_method: got '{visible(method, 60)}', expected linear or"
        " task_arithmetic",
        code="import-method",
        hint=hint,
    )


def _check_keys(document: Mapping[str, Yaml]) -> None:
    for key in ("slices", "modules"):
        if key in document:
            raise RecipeError(
                f"{key}: is put together from layers, which SDXL does not have;"
                " expected models",
                code="import-method",
                hint="only configurations with models are imported",
            )
    for key in document:
        if key not in _KNOWN:
            raise _field(visible(key, 60), "unknown key")


def _models(document: Mapping[str, Yaml]) -> list[_Model]:
    entries = document.get("models")
    if not isinstance(entries, list) or not entries:
        raise _field("models", "expected a list of models")
    if len(entries) > MAX_INGREDIENTS:
        raise _field("models", f"expected at most {MAX_INGREDIENTS} models")
    models: list[_Model] = []
    for index, entry in enumerate(entries):
        place = f"models[{index}]"
        if not isinstance(entry, dict) or entry.keys() - {"model", "parameters"}:
            raise _field(place, "expected model and parameters, nothing else")
        reference = entry.get("model")
        if not isinstance(reference, str) or not reference:
            raise _field(f"{place}.model", "expected a path or repository as text")
        if "+" in reference:
            raise RecipeError(
                f"{place}.model: adds a LoRA to '{visible(reference, 80)}'",
                code="import-method",
                hint="write the recipe by hand: model + lora(name)",
            )
        if any(model.reference == reference for model in models):
            raise _field(f"{place}.model", "is there twice")
        parameters = _mapping(entry.get("parameters"), f"{place}.parameters")
        models.append(_Model(reference, parameters, place))
    return models


def _mapping(value: Yaml, place: str) -> Mapping[str, Yaml]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _field(place, "expected a mapping")
    return value


def _check_parameters(parameters: Mapping[str, Yaml], method: str, place: str) -> None:
    for key in parameters:
        if key not in _PARAMETERS[method]:
            raise RecipeError(
                f"{place}.{visible(key, 40)}: is no parameter of {method}, expected"
                f" {', '.join(_PARAMETERS[method])}",
                code="import-setting",
                hint="remove it if it has no effect",
            )


def _coefficients(
    method: str,
    models: list[_Model],
    shared: Mapping[str, Yaml],
    base: str | None,
) -> list[Numbers]:
    """Return the coefficients of the models, in their order."""
    normalize = _flag(shared, "normalize", default=method == _LINEAR)
    weighed = [m for m in models if method == _LINEAR or m.reference != base]
    weights = [_weights(model, shared) for model in weighed]
    totals = {
        cell: sum((each[cell] for each in weights), Fraction(0))
        for cell in SD_MECHA.cells
    }
    if normalize:
        weights = [_divided(each, totals, method) for each in weights]
    if method == _LINEAR:
        return _closed(weights) if normalize else weights
    setting = read_setting(shared.get("lambda"), place="parameters.lambda")
    factors = by_cell([setting], default=Fraction(1), place="parameters.lambda")
    scaled_weights = [
        {cell: rounded(each[cell] * factors[cell]) for cell in each} for each in weights
    ]
    found = iter(scaled_weights)
    rest = {
        cell: 1 - sum((each[cell] for each in scaled_weights), Fraction(0))
        for cell in SD_MECHA.cells
    }
    return [rest if model.reference == base else next(found) for model in models]


def _weights(model: _Model, shared: Mapping[str, Yaml]) -> Numbers:
    place = f"{model.place}.parameters.weight"
    own = read_setting(model.parameters.get("weight"), place=place)
    wider = read_setting(shared.get("weight"), place="parameters.weight")
    return by_cell([own, wider], default=None, place=place)


def _divided(weights: Numbers, totals: Numbers, method: str) -> Numbers:
    """Return weights divided by their sum, as decimals; see `rounded`."""
    found = {}
    for cell, weight in weights.items():
        total = totals[cell]
        if method == _TASK and abs(total) < _TINY:
            total = Fraction(1)
        if total == 0:
            raise _field("parameters.normalize", f"weights sum to 0 in {cell.label}")
        found[cell] = rounded(weight / total)
    return found


def _closed(weights: list[Numbers]) -> list[Numbers]:
    """Return weights whose sum is exactly 1: the first takes what rounding left."""
    rest = {
        cell: 1 - sum((each[cell] for each in weights[1:]), Fraction(0))
        for cell in SD_MECHA.cells
    }
    return [rest, *weights[1:]]


def _flag(parameters: Mapping[str, Yaml], key: str, *, default: bool) -> bool:
    value = parameters.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise _field(f"parameters.{key}", "expected true or false")
    return value


def _imported(
    document: Mapping[str, Yaml], models: list[_Model], weights: list[Numbers]
) -> Imported:
    names = IngredientNames()
    steps: list[tuple[str, str]] = []
    terms: list[str] = []
    used: list[str] = []
    for model, numbers in zip(models, weights, strict=True):
        if not any(numbers.values()):
            continue
        name = _named(names, model.reference)
        used.append(name)
        text = check_length(scaled(name, numbers), place=model.place)
        if text.startswith("mbw("):
            steps.append((f"{PART}_{len(steps) + 1}", text))
            text = steps[-1][0]
        terms.append(text)
    if not terms:
        raise _field("models", "every weight is 0")
    result = check_length(" + ".join(terms), place="models")
    dtype = document.get("out_dtype") or document.get("dtype")
    return Imported(
        ORIGIN,
        names.chosen(used),
        (*steps, (OUTPUT, result)),
        SD_MECHA.name,
        dtype_hint=_DTYPES.get(str(dtype), ""),
        notes=_notes(weights),
    )


def _notes(weights: list[Numbers]) -> tuple[str, ...]:
    if any(0 in numbers.values() for numbers in weights):
        return (
            _ARCHITECTURE_NOTE,
            (
                "mergekit before 0.1.5 takes a weight of 0 for none, and asks the next"
                " setting instead"
            ),
        )
    return (_ARCHITECTURE_NOTE,)


def _named(names: IngredientNames, reference: str) -> str:
    title = file_name(reference) or "model"
    if _HUB.fullmatch(reference) and not _LOCAL.search(reference):
        title = reference.partition("@")[0].partition("/")[2]
        return names.add(reference, title, hub=reference)
    return names.add(reference, title, file=file_name(reference))


def _field(place: str, reason: str) -> RecipeError:
    return RecipeError(
        f"{place}: {reason}",
        code="import-field",
        hint="mergekit's documentation shows what a configuration may say",
    )
