"""Cutting a recipe expression into tokens, and the error that points into it."""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from release.errors import Excerpt, RecipeError, visible

MAX_EXPRESSION_LENGTH: Final = 2000
"""Characters of one expression."""
MAX_NUMBER_LENGTH: Final = 30
"""Characters of one number."""

_NUMBER: Final = r"\d+(?:\.\d*)?|\.\d+"
_TOKEN: Final = re.compile(
    rf"(?P<number>{_NUMBER})|(?P<name>[A-Za-z][A-Za-z0-9_]*)"
    r"|(?P<text>'[^']*'|\"[^\"]*\")|(?P<symbol>[-+*(),=])",
    re.ASCII,
)
_LOOK_ALIKES: Final = {
    "\N{MINUS SIGN}": "-",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{MULTIPLICATION SIGN}": "*",
    "\N{MIDDLE DOT}": "*",
    "\N{LEFT SINGLE QUOTATION MARK}": "'",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{LEFT DOUBLE QUOTATION MARK}": '"',
    "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
    "\N{FULLWIDTH COMMA}": ",",
}
"""What word processors and web pages make of the symbols of an expression."""


class Kind(Enum):
    """What a token is."""

    NUMBER = "number"
    NAME = "name"
    TEXT = "text"
    SYMBOL = "symbol"
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    """One token; `text` is without quotes, `column` counts from 1."""

    kind: Kind
    text: str
    column: int

    def is_symbol(self, symbols: str) -> bool:
        """Whether it is one of the `symbols`."""
        return self.kind is Kind.SYMBOL and self.text in symbols

    @property
    def shown(self) -> str:
        """The token as an error message names it."""
        if self.kind is Kind.END:
            return "the end"
        return f"'{visible(self.text, 60)}'"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an expression was written: `label` is its key path or file."""

    label: str
    expression: str

    def error(self, column: int, reason: str, *, code: str, hint: str) -> RecipeError:
        """Return the error that points at `column` of the expression."""
        return RecipeError(
            f"{visible(self.label)}: column {column}: {reason}",
            code=code,
            hint=hint,
            excerpt=Excerpt(self.expression, column),
        )


def tokenize(place: Place) -> list[Token]:
    """Return the tokens of an expression, the last one of kind END.

    Raises:
        RecipeError: Code "recipe-syntax": too long, or a character that starts no
            token. Code "recipe-division" for "/".
    """
    expression = place.expression
    if len(expression) > MAX_EXPRESSION_LENGTH:
        raise place.error(
            MAX_EXPRESSION_LENGTH + 1,
            f"got {len(expression):,} characters, expected at most"
            f" {MAX_EXPRESSION_LENGTH:,}",
            code="recipe-syntax",
            hint="split the expression into named steps",
        )
    tokens: list[Token] = []
    position = 0
    while position < len(expression):
        if expression[position].isspace():
            position += 1
            continue
        match = _TOKEN.match(expression, position)
        if match is None:
            raise _bad_character(place, position)
        tokens.append(_token(place, match))
        position = match.end()
    return [*tokens, Token(Kind.END, "", len(expression) + 1)]


def _token(place: Place, match: re.Match[str]) -> Token:
    kind = Kind(match.lastgroup)
    text = match.group()
    column = match.start() + 1
    if kind is Kind.NUMBER:
        _check_number(place, text, column)
    if kind is Kind.TEXT:
        return Token(kind, text[1:-1], column)
    return Token(kind, text, column)


def _check_number(place: Place, text: str, column: int) -> None:
    if len(text) > MAX_NUMBER_LENGTH:
        raise place.error(
            column,
            f"got a number of {len(text)} characters, expected at most"
            f" {MAX_NUMBER_LENGTH}",
            code="recipe-syntax",
            hint="float64 holds 17 significant digits",
        )
    if re.match(r"[eE][-+]?\d", place.expression[column - 1 + len(text) :]):
        raise place.error(
            column,
            "got a number with an exponent, expected a plain decimal",
            code="recipe-syntax",
            hint="write 0.001, not 1e-3",
        )


def _bad_character(place: Place, position: int) -> RecipeError:
    char = place.expression[position]
    code = "recipe-syntax"
    if char == "/":
        code, hint = "recipe-division", "multiply by a decimal: 0.5 * a, not a / 2"
    elif char in "'\"":
        hint = f"close the text with {char}"
    elif char in _LOOK_ALIKES:
        hint = f"type {_LOOK_ALIKES[char]} from the keyboard"
    else:
        hint = "an expression has numbers, names, + - *, parentheses and functions"
    return place.error(
        position + 1,
        f"got '{visible(char)}', expected a number, a name or a symbol",
        code=code,
        hint=hint,
    )
