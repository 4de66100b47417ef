"""The recipe language: a combination of models, written as one expression.

    sum     = product { ("+" | "-") product }
    product = unary { "*" unary }
    unary   = "-" unary | atom
    atom    = number | name | call | "(" sum ")"
    call    = "mbw"  "(" sum "," sum "," text ")"
            | "lerp" "(" sum "," sum "," sum ")"
            | "only" "(" sum "," target { "," target } ")"
            | "lora" "(" name ")"
            | method "(" argument { "," argument } ")"
    argument = sum | name "=" sum

Numbers are plain decimals and stay exact. What is not linear (division, a model times a
model) has no place in it, except as a method of `release.recipe.functions`; a product
of models is refused when the expression is folded, since that needs to know what a name
stands for.
"""

from fractions import Fraction
from typing import Final

from release.errors import RecipeError
from release.recipe.arguments import Argument, bind
from release.recipe.functions import (
    FUNCTIONS,
    METHODS,
    NEAR_METHODS,
    NOT_BUILT,
    NOT_LINEAR,
    SIGNATURES,
)
from release.recipe.names import nearest
from release.recipe.tokens import Kind, Place, Token, tokenize
from release.recipe.tree import (
    BlockMerge,
    Expression,
    Lerp,
    Lora,
    Name,
    Negation,
    Number,
    Only,
    Product,
    Sum,
    Target,
)
from release.recipe.weights import BlockWeights, read_weights

MAX_DEPTH: Final = 50
"""Parentheses, calls and signs inside one another."""


def parse(expression: str, *, label: str) -> Expression:
    """Return the syntax tree of `expression`.

    Args:
        expression: At most `release.recipe.tokens.MAX_EXPRESSION_LENGTH` characters.
        label: What errors name it by, such as the key path "recipe.steps.gamma".

    Raises:
        RecipeError: One line with the column (from 1), what is there, and what was
            expected; its excerpt has the place. Codes "recipe-syntax",
            "recipe-division", "unknown-function", "method-not-built",
            "block-weights", "method-parameter".
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
        return self._next.is_symbol(symbols)

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
        name, column = function.text, function.column
        if name not in FUNCTIONS:
            raise self._unknown_function(function)
        self._expect("(")
        tree: Expression
        if name in METHODS:
            tree = bind(
                METHODS[name], self._arguments(), place=self._place, column=column
            )
        elif name == "lora":
            tree = Lora(self._word("the name of an ingredient").text, column)
        elif name == "only":
            tree = Only(self._sum(), self._targets(), column)
        else:
            first, second = self._sum(), self._after_comma()
            self._expect(",")
            if name == "mbw":
                tree = BlockMerge(first, second, self._weights(), column)
            else:
                tree = Lerp(first, second, self._sum(), column)
        self._expect(")")
        return tree

    def _after_comma(self) -> Expression:
        self._expect(",")
        return self._sum()

    def _word(self, expected: str) -> Token:
        if self._next.kind is not Kind.NAME:
            raise self._unexpected(expected)
        return self._take()

    def _targets(self) -> tuple[Target, ...]:
        targets: list[Target] = []
        while not targets or self._at(","):
            self._expect(",")
            token = self._word("a part or a block, such as unet or OUT03")
            targets.append(Target(token.text, token.column))
        return tuple(targets)

    def _arguments(self) -> list[Argument]:
        arguments: list[Argument] = []
        while not arguments or self._at(","):
            if arguments:
                self._take()
            token, name = self._next, ""
            after = self._tokens[min(self._index + 1, len(self._tokens) - 1)]
            if token.kind is Kind.NAME and after.is_symbol("="):
                name = token.text
                self._index += 2
            arguments.append(Argument(name, self._sum(), token.column))
        return arguments

    def _weights(self) -> BlockWeights:
        token = self._next
        if token.kind is not Kind.TEXT:
            raise self._error(
                token,
                f"got {token.shown}, expected the block weights as quoted text",
                hint=SIGNATURES["mbw"],
            )
        self._take()
        return read_weights(token.text, place=self._place, column=token.column + 1)

    def _unknown_function(self, function: Token) -> RecipeError:
        name = function.text
        if name in NOT_BUILT:
            what = "not linear and not built" if name in NOT_LINEAR else "not built"
            near = NEAR_METHODS.get(name, "")
            return self._error(
                function,
                f"{name} is {what}; it is refused rather than approximated",
                code="method-not-built",
                hint=f"the nearest that is built is {SIGNATURES[near]}"
                if near
                else f"there are {', '.join(FUNCTIONS)}",
            )
        near = nearest(name, FUNCTIONS)
        return self._error(
            function,
            f"unknown function {function.shown}",
            code="unknown-function",
            hint=f"did you mean {SIGNATURES[near]}?"
            if near
            else f"there are {', '.join(FUNCTIONS)}",
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
