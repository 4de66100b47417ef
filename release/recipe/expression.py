"""The recipe language: a linear combination of models, written as one expression.

    sum     = product { ("+" | "-") product }
    product = unary { "*" unary }
    unary   = "-" unary | atom
    atom    = number | name | call | "(" sum ")"
    call    = "mbw"  "(" sum "," sum "," text ")"
            | "lerp" "(" sum "," sum "," sum ")"

Numbers are plain decimals and stay exact. What is not linear (division, a model times a
model) has no place in it; the latter is refused when the expression is folded, since it
needs to know what a name stands for.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from release.errors import RecipeError
from release.recipe.names import nearest
from release.recipe.tokens import Kind, Place, Token, tokenize
from release.recipe.weights import read_weights

MAX_DEPTH: Final = 50
"""Parentheses, calls and signs inside one another."""

_SIGNATURES: Final = {
    "mbw": "mbw(base, other, '20 numbers')",
    "lerp": "lerp(a, b, t)",
}

FUNCTIONS: Final = tuple(_SIGNATURES)
"""Names that no step and no ingredient may have."""


@dataclass(frozen=True, slots=True)
class Number:
    """A decimal, exact."""

    value: Fraction
    column: int


@dataclass(frozen=True, slots=True)
class Name:
    """An ingredient or a step."""

    name: str
    column: int


@dataclass(frozen=True, slots=True)
class Negation:
    """Minus `operand`."""

    operand: "Expression"
    column: int


@dataclass(frozen=True, slots=True)
class Sum:
    """Two or more terms; a subtracted one is a `Negation`."""

    terms: tuple["Expression", ...]
    column: int


@dataclass(frozen=True, slots=True)
class Product:
    """Two or more factors."""

    factors: tuple["Expression", ...]
    column: int


@dataclass(frozen=True, slots=True)
class Lerp:
    """`(1 - t) * a + t * b`."""

    a: "Expression"
    b: "Expression"
    t: "Expression"
    column: int


@dataclass(frozen=True, slots=True)
class BlockMerge:
    """`(1 - w) * base + w * other`, with one weight `w` per block.

    `weights` are in the order of `release.recipe.weights.WEIGHT_BLOCKS`.
    """

    base: "Expression"
    other: "Expression"
    weights: tuple[Fraction, ...]
    column: int


Expression = Number | Name | Negation | Sum | Product | Lerp | BlockMerge


def parse(expression: str, *, label: str) -> Expression:
    """Return the syntax tree of `expression`.

    Args:
        expression: At most `release.recipe.tokens.MAX_EXPRESSION_LENGTH` characters.
        label: What errors name it by, such as the key path "recipe.steps.gamma".

    Raises:
        RecipeError: One line with the column (from 1), what is there, and what was
            expected. Codes "recipe-syntax", "recipe-division", "unknown-function",
            "block-weights".
    """
    return _Parser(Place(label, expression)).whole()


class _Parser:
    def __init__(self, place: Place) -> None:
        self._place = place
        self._tokens = tokenize(place)
        self._index = 0
        self._depth = 0

    def whole(self) -> Expression:
        tree = self._sum()
        if self._next.kind is not Kind.END:
            raise self._unexpected("an operator or the end")
        return tree

    @property
    def _next(self) -> Token:
        return self._tokens[self._index]

    def _take(self) -> Token:
        token = self._next
        self._index += 1
        return token

    def _at(self, symbols: str) -> bool:
        token = self._next
        return token.kind is Kind.SYMBOL and token.text in symbols

    def _expect(self, symbol: str) -> None:
        if not self._at(symbol):
            raise self._unexpected(f"'{symbol}'")
        self._take()

    def _sum(self) -> Expression:
        column = self._next.column
        terms = [self._product()]
        while self._at("+-"):
            sign = self._take()
            term = self._product()
            terms.append(Negation(term, sign.column) if sign.text == "-" else term)
        return Sum(tuple(terms), column) if len(terms) > 1 else terms[0]

    def _product(self) -> Expression:
        column = self._next.column
        factors = [self._unary()]
        while self._at("*"):
            self._take()
            factors.append(self._unary())
        return Product(tuple(factors), column) if len(factors) > 1 else factors[0]

    def _unary(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(
                self._next,
                f"got more than {MAX_DEPTH} levels of parentheses and signs",
                hint="split the expression into named steps",
            )
        tree = self._negation() if self._at("-") else self._atom()
        self._depth -= 1
        return tree

    def _negation(self) -> Expression:
        column = self._take().column
        return Negation(self._unary(), column)

    def _atom(self) -> Expression:
        token = self._next
        if token.kind is Kind.NUMBER:
            self._take()
            return Number(Fraction(token.text), token.column)
        if token.kind is Kind.NAME:
            self._take()
            return self._call(token) if self._at("(") else self._name(token)
        if self._at("("):
            self._take()
            tree = self._sum()
            self._expect(")")
            return tree
        raise self._unexpected("a number, a name or '('")

    def _name(self, token: Token) -> Name:
        if token.text in FUNCTIONS:
            raise self._unexpected(f"'(' after {token.text}")
        return Name(token.text, token.column)

    def _call(self, function: Token) -> Expression:
        if function.text not in FUNCTIONS:
            raise self._unknown_function(function)
        self._expect("(")
        first = self._sum()
        self._expect(",")
        second = self._sum()
        self._expect(",")
        tree: Expression
        if function.text == "mbw":
            tree = BlockMerge(first, second, self._weights(), function.column)
        else:
            tree = Lerp(first, second, self._sum(), function.column)
        self._expect(")")
        return tree

    def _weights(self) -> tuple[Fraction, ...]:
        token = self._next
        if token.kind is not Kind.TEXT:
            raise self._error(
                token,
                f"got {token.shown}, expected the block weights as quoted text",
                hint=_SIGNATURES["mbw"],
            )
        self._take()
        return read_weights(token.text, place=self._place, column=token.column)

    def _unknown_function(self, function: Token) -> RecipeError:
        near = nearest(function.text, FUNCTIONS)
        return self._error(
            function,
            f"unknown function {function.shown}",
            code="unknown-function",
            hint=f"did you mean {_SIGNATURES[near]}?"
            if near
            else f"there are {' and '.join(_SIGNATURES.values())}",
        )

    def _unexpected(self, expected: str) -> RecipeError:
        token = self._next
        hint = "a product needs its sign: 0.5 * a"
        if token.kind is Kind.END:
            hint = "the expression stops early"
        elif token.kind is Kind.SYMBOL:
            hint = "check the parentheses, commas and signs before this column"
        return self._error(token, f"got {token.shown}, expected {expected}", hint=hint)

    def _error(
        self, token: Token, reason: str, *, hint: str, code: str = "recipe-syntax"
    ) -> RecipeError:
        return self._place.error(token.column, reason, code=code, hint=hint)
