"""What pydantic found wrong with a document, as key paths and sentences."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from release.errors import RecipeError, first_names, visible
from release.formats.toml_text import value_text
from release.recipe.names import suggestion


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong: the key path, such as "ingredients.beta7.sha256", and what."""

    key: str
    text: str


def problems_of(
    error: ValidationError, root: type[BaseModel], *, meanings: Mapping[str, str]
) -> list[Problem]:
    """Return every problem pydantic reports, in its order.

    A list that is too short only because its elements are wrong is not one.

    Args:
        error: From validating against `root`.
        root: Used to say which keys a table may have.
        meanings: Pattern of a string -> what it means, in words.
    """
    return [
        Problem(_key_path(found["loc"]), _sentence(found, root, meanings))
        for found in error.errors(include_url=False)
        if not (found["type"] == "too_short" and found["input"])
    ]


def refuse(origin: str, problems: Sequence[Problem], *, code: str, hint: str) -> None:
    """Raise for the first of `problems`, naming the others' keys; nothing if empty.

    Args:
        origin: The document.
        problems: In order.
        code: Code of the error.
        hint: Its hint where there is one problem only.

    Raises:
        RecipeError: With `code`.
    """
    if not problems:
        return
    first, *others = problems
    more = f", and {len(others)} more" if others else ""
    also = f"also wrong: {first_names([problem.key for problem in others])}"
    raise RecipeError(
        f"{visible(origin, 1024)}: {visible(first.key)}: {first.text}{more}",
        code=code,
        hint=also if others else hint,
    )


def _key_path(location: Sequence[int | str]) -> str:
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part != "[key]":
            path += f".{part}" if path else part
    return path or "top level"


def _sentence(
    found: Mapping[str, Any], root: type[BaseModel], meanings: Mapping[str, str]
) -> str:
    kind, location, message = found["type"], found["loc"], found["msg"]
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        allowed = _allowed_keys(root, location[:-1])
        return f"unknown key; {suggestion(str(location[-1]), allowed)}"
    got = value_text(found["input"])
    if kind == "string_pattern_mismatch":
        pattern = found["ctx"]["pattern"]
        return f"got {got}, expected {meanings.get(pattern, pattern)}"
    rule = message.removeprefix("Input should be ")
    return f"got {got}, expected {rule}" if rule != message else f"got {got}: {message}"


def _allowed_keys(root: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Return the keys of the table at `location`.

    Parts that are no field's key, such as an index or an ingredient's name, and fields
    without a table in them, do not lead to another table.
    """
    table = root
    for part in location:
        for name, field in table.model_fields.items():
            if part in {name, field.alias}:
                table = next(_models_in(field.annotation), table)
                break
    return [field.alias or name for name, field in table.model_fields.items()]


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
