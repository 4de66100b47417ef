"""Recipes of sd-mecha: `.mecha` texts, also as the header key `mecha_recipe`.

Source:
    sd-mecha 1.1.8, `serialization.py` for the text,
    `extensions/builtin/merge_methods/linear.py` for the methods.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from release.errors import visible
from release.recipe.conventions import SD_MECHA, VAE
from release.recipe.imports.imported import (
    Imported,
    IngredientNames,
    file_name,
)
from release.recipe.imports.mecha_lines import Argument, Line, Reference, read_lines
from release.recipe.imports.mecha_methods import (
    METHODS,
    Blocks,
    Call,
    Model,
    Parameter,
)
from release.recipe.imports.mecha_steps import Steps
from release.recipe.text import KEEP_PREFIX, MISSING_ERROR
from release.recipe.weights import WEIGHT_BLOCKS

METADATA_KEY: Final = "mecha_recipe"
ORIGIN: Final = "sd-mecha"

_SDXL: Final = "sdxl-sgm"
_SINGLETON: Final = "singleton-mecha"
_BLOCKS: Final = "sdxl-supermerger_blocks"
_NAMES: Final = (*WEIGHT_BLOCKS, VAE)
_NOTES: Final = (
    (
        "the origin rounds weights to float32, and by default computes in float32 and"
        " stores F16; here they are exact"
    ),
    "the origin leaves out tensors that an ingredient lacks; here it is refused",
)


@dataclass(frozen=True, slots=True)
class _Dict:
    """The result of `dict`: numbers or constants by name."""

    values: dict[str, Fraction | str | bool | None]


@dataclass(frozen=True, slots=True)
class _Constant:
    """A literal that is no number, such as the dtype of a cast."""

    value: str | bool | None


_Result = Model | Parameter | Blocks | _Constant | _Dict


def import_mecha(text: str) -> Imported:
    """Return the recipe that a `.mecha` text says.

    Raises:
        RecipeError: Code "import-mecha-version", "import-mecha-line",
            "import-method", "import-architecture", "import-number" or
            "import-too-large"; the message begins with the line's number.
    """
    reader = _Reader()
    for line in read_lines(text):
        reader.results.append(reader.read(line))
        reader.last = line
    return reader.imported()


class _Reader:
    """The results of the lines so far, and the models they are made of."""

    def __init__(self) -> None:
        self.results: list[_Result] = []
        self.last = Line(1, "", (), {})
        self.names = IngredientNames()
        self.steps = Steps()

    def read(self, line: Line) -> _Result:
        """Return the result of one line."""
        match line.command:
            case "model":
                return self._model(line)
            case "dict":
                return self._dict(line)
            case "literal":
                return self._literal(line)
            case _:
                return self._merge(line)

    def imported(self) -> Imported:
        """Return the recipe whose output is the last result."""
        output = self.results[-1] if self.results else None
        if not isinstance(output, Model):
            raise self.last.error("the last line is no model, expected the output")
        if output.is_delta:
            raise self.last.error("the output is a difference, expected a model")
        steps = self.steps.needed(output.text)
        used = self.steps.ingredients(steps)
        keep = output.fallback
        return Imported(
            ORIGIN,
            self.names.chosen([*used, keep]),
            steps,
            SD_MECHA.name,
            missing=f"{KEEP_PREFIX}{keep}" if keep else MISSING_ERROR,
            dtype_hint=output.dtype,
            notes=_NOTES,
            warnings=output.warnings,
        )

    def _model(self, line: Line) -> Model:
        path = line.positional[0] if len(line.positional) == 1 else None
        if not isinstance(path, str):
            raise line.error("expected a model's path in quotes, and nothing beside it")
        _check_named(line, {"model_config", "merge_space"})
        config = line.named.get("model_config")
        if config != _SDXL:
            raise line.error(
                f"the model has the configuration {_shown(config)}, expected {_SDXL}",
                code="import-architecture",
            )
        space = line.named.get("merge_space")
        if space not in {None, "weight"}:
            raise line.error(f"the model is in {_shown(space)} space, expected weight")
        title = file_name(path) or "model"
        return Model(self.names.add(path, title, file=file_name(path)))

    def _dict(self, line: Line) -> _Dict:
        if line.positional or not line.named:
            raise line.error("expected NAME=VALUE pairs")
        values: dict[str, Fraction | str | bool | None] = {}
        for key, value in line.named.items():
            if isinstance(value, Reference):
                raise line.error(f"got a reference for {_shown(key)}, expected a value")
            values[key] = value
        return _Dict(values)

    def _literal(self, line: Line) -> Parameter | Blocks | _Constant:
        _check_named(line, {"model_config", "merge_space"})
        value = self._one(line)
        if line.named.get("merge_space") not in {None, "param"}:
            raise line.error("expected a literal in the space param")
        if not isinstance(value, _Dict):
            raise line.error("expected a reference to a dict")
        config = line.named.get("model_config")
        if config == _SINGLETON and value.values.keys() == {"key"}:
            only = value.values["key"]
            return Parameter(only) if isinstance(only, Fraction) else _Constant(only)
        if config == _BLOCKS and value.values.keys() == set(_NAMES):
            numbers = [value.values[name] for name in _NAMES]
            return Blocks(tuple(_number(line, number) for number in numbers))
        raise line.error(
            f"got {len(value.values)} values for the configuration {_shown(config)},"
            f" expected key for {_SINGLETON}, or BASE, IN00..IN08, M00, OUT00..OUT08"
            f" and VAE for {_BLOCKS}"
        )

    def _merge(self, line: Line) -> _Result:
        name = line.positional[0] if line.positional else None
        if name == "convert_singleton":
            return self._converted(line, is_blocks=False)
        if name == "convert_sdxl_blocks_to_sgm":
            return self._converted(line, is_blocks=True)
        method = METHODS.get(name) if isinstance(name, str) else None
        if method is None:
            raise line.error(
                f"got the method {_shown(name)}, expected {', '.join(METHODS)},"
                " convert_singleton or convert_sdxl_blocks_to_sgm",
                code="import-method",
            )
        positional = tuple(self._resolved(line, each) for each in line.positional[1:])
        named = {key: self._resolved(line, each) for key, each in line.named.items()}
        return method(Call(line, positional, named, self.steps))

    def _converted(self, line: Line, *, is_blocks: bool) -> _Result:
        value = self._result(line, line.positional[1]) if line.positional[1:] else None
        if len(line.positional) == 2 and not line.named:
            if is_blocks and isinstance(value, Blocks):
                return value
            if not is_blocks and isinstance(value, Parameter | _Constant):
                return value
        raise line.error("expected one argument, a literal of the fitting kind")

    def _one(self, line: Line) -> object:
        if len(line.positional) != 1:
            raise line.error("expected one reference")
        return self._result(line, line.positional[0])

    def _result(self, line: Line, argument: Argument) -> object:
        if not isinstance(argument, Reference):
            return argument
        if argument.index >= len(self.results):
            raise line.error(
                f"&{argument.index} is not yet there, expected a result of a line above"
            )
        return self.results[argument.index]

    def _resolved(
        self, line: Line, argument: Argument
    ) -> Model | Parameter | Blocks | str | bool | None:
        value = self._result(line, argument)
        if isinstance(value, Fraction):
            return Parameter(value)
        if isinstance(value, _Constant):
            return value.value
        if isinstance(value, Model | Parameter | Blocks | str | bool | None):
            return value
        raise line.error("got a dict, expected a model, number or literal")


def _check_named(line: Line, known: set[str]) -> None:
    for key in line.named.keys() - known:
        raise line.error(
            f"got the argument {_shown(key)}, expected {' and '.join(sorted(known))}"
        )


def _number(line: Line, value: Argument) -> Fraction:
    if not isinstance(value, Fraction):
        raise line.error(f"got the block weight {_shown(value)}, expected a number")
    return value


def _shown(value: object) -> str:
    return visible(value, 60)
