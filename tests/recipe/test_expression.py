from fractions import Fraction

import pytest

from release.errors import RecipeError
from release.recipe.expression import (
    BlockMerge,
    Lerp,
    Name,
    Negation,
    Number,
    Product,
    Sum,
    parse,
)

ZEROS = ",".join(["0"] * 20)


def zeros(count: int) -> str:
    return ",".join(["0"] * count)


def test_tree_of_a_difference_times_a_number() -> None:
    tree = parse("a + .25*(b-c)", label="x")
    difference = Sum((Name("b", 10), Negation(Name("c", 12), 11)), 10)
    scaled = Product((Number(Fraction(1, 4), 5), difference), 5)
    assert tree == Sum((Name("a", 1), scaled), 1)


def test_tree_of_calls() -> None:
    tree = parse(f'mbw(a, lerp(b, c, 0.5), "{ZEROS}")', label="x")
    inner = Lerp(Name("b", 13), Name("c", 16), Number(Fraction(1, 2), 19), 8)
    assert tree == BlockMerge(Name("a", 5), inner, (Fraction(0),) * 20, 1)


def test_weights_are_exact_and_in_order() -> None:
    text = ",".join(f" 0.{index:02} " for index in range(20))
    tree = parse(f"mbw(a, b, '{text}')", label="x")
    assert isinstance(tree, BlockMerge)
    assert tree.weights == tuple(Fraction(index, 100) for index in range(20))


@pytest.mark.parametrize(
    ("text", "value"),
    [("1.", Fraction(1)), (".5", Fraction(1, 2)), ("0.1", Fraction(1, 10))],
)
def test_numbers_are_exact_decimals(text: str, value: Fraction) -> None:
    assert parse(text, label="x") == Number(value, 1)


@pytest.mark.parametrize(
    ("expression", "column", "code", "words"),
    [
        ("", 1, "recipe-syntax", "got the end, expected a number, a name"),
        ("a +", 4, "recipe-syntax", "got the end, expected a number, a name"),
        ("a + * b", 5, "recipe-syntax", "got '*'"),
        ("a b", 3, "recipe-syntax", "got 'b', expected an operator or the end"),
        ("0.5 a", 5, "recipe-syntax", "got 'a', expected an operator"),
        ("(a", 3, "recipe-syntax", "got the end, expected ')'"),
        ("a)", 2, "recipe-syntax", "got ')', expected an operator or the end"),
        ("a + 1.0*(b - c))", 16, "recipe-syntax", "got ')'"),
        ("a / 2", 3, "recipe-division", "got '/'"),
        ("a ^ 2", 3, "recipe-syntax", "got '^'"),
        ("a ** 2", 4, "recipe-syntax", "got '*'"),
        ("a \N{MINUS SIGN} b", 3, "recipe-syntax", "got '\N{MINUS SIGN}'"),
        ("a.b", 2, "recipe-syntax", "got '.'"),
        ("2e-3 * a", 1, "recipe-syntax", "exponent"),
        ("0." + "1" * 29, 1, "recipe-syntax", "a number of 31 characters"),
        ("\u0663 * a", 1, "recipe-syntax", "expected a number"),
        ("\u202ea", 1, "recipe-syntax", r"got '\u202e'"),
        ("mbw", 4, "recipe-syntax", "expected '(' after mbw"),
        ("mbw(a, b)", 9, "recipe-syntax", "got ')', expected ','"),
        ("mbw(a, b, 0.5)", 11, "recipe-syntax", "block weights as quoted text"),
        ("mbw(a, b, '0", 11, "recipe-syntax", "got '''"),
        ("lerp(a, b)", 10, "recipe-syntax", "got ')', expected ','"),
        ("lerp(a, b, 1, 2)", 13, "recipe-syntax", "got ',', expected ')'"),
        ("a + max(a, b)", 5, "unknown-function", "unknown function 'max'"),
        ("leap(a, b, 1)", 1, "unknown-function", "unknown function 'leap'"),
        ("(" * 60 + "a" + ")" * 60, 51, "recipe-syntax", "more than 50 levels"),
        ("-" * 60 + "a", 51, "recipe-syntax", "more than 50 levels"),
        ("a" * 2001, 2001, "recipe-syntax", "got 2,001 characters"),
        (f"mbw(a, b, '{zeros(5)}')", 11, "block-weights", "got 5 block weights"),
        (f"mbw(a, b, '{zeros(19)}')", 11, "block-weights", "expected 20 (BASE, IN00"),
        (f"mbw(a, b, '{zeros(19)},x')", 11, "block-weights", "weight of OUT08"),
        (f"mbw(a, b, '0,,{zeros(18)}')", 11, "block-weights", "got nothing as the"),
        (f"mbw(a, b, '1e1,{zeros(19)}')", 11, "block-weights", "weight of BASE"),
        (f"mbw(a, b, '1/2,{zeros(19)}')", 11, "block-weights", "weight of BASE"),
    ],
)
def test_wrong_expression_is_refused_where_it_is_wrong(
    expression: str, column: int, code: str, words: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        parse(expression, label="recipe.steps.gamma")
    message = str(caught.value)
    assert caught.value.code == code
    assert message.startswith(f"recipe.steps.gamma: column {column}: ")
    assert words in message
    assert "\n" not in message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("expression", "hint"),
    [
        ("a / 2", "multiply by a decimal"),
        ("a \N{MINUS SIGN} b", "type - from the keyboard"),
        ("a \N{MULTIPLICATION SIGN} b", "type * from the keyboard"),
        ("2e-3", "write 0.001"),
        ("a b", "0.5 * a"),
        ("leap(a, b, 1)", "did you mean lerp(a, b, t)?"),
        ("f(a)", "mbw(base, other, '20 numbers') and lerp(a, b, t)"),
        (f"mbw(a, b, '{zeros(19)}')", "BASE, is probably missing"),
        (f"mbw(a, b, '{zeros(21)}')", "the last is probably VAE"),
        (f"mbw(a, b, '{zeros(26)}')", "leave out IN09..IN11 and OUT09..OUT11"),
    ],
)
def test_hint_says_what_to_write_instead(expression: str, hint: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse(expression, label="x")
    assert hint in caught.value.hint


def test_long_sums_and_products_do_not_nest() -> None:
    tree = parse("a" + "+a" * 999, label="x")
    assert isinstance(tree, Sum)
    assert len(tree.terms) == 1000
