from fractions import Fraction

import pytest

from release.errors import RecipeError
from release.recipe.expression import parse
from release.recipe.tree import (
    BlockMerge,
    Lerp,
    Lora,
    MethodCall,
    Name,
    Negation,
    Number,
    Only,
    Product,
    Sum,
    Target,
)
from release.recipe.weights import BlockWeights

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
    assert tree == BlockMerge(Name("a", 5), inner, BlockWeights((Fraction(0),) * 20), 1)


def test_tree_of_only_and_lora() -> None:
    tree = parse("only(a, unet, OUT03) + lora(s)", label="x")
    targets = (Target("unet", 9), Target("OUT03", 15))
    assert tree == Sum((Only(Name("a", 6), targets, 1), Lora("s", 24)), 1)


@pytest.mark.parametrize(
    ("text", "models", "parameters"),
    [
        ("slerp(a, b, .3)", 2, {"t": "0.3"}),
        ("slerp(a, b, t=0.3)", 2, {"t": "0.3"}),
        ("add_cosine(a, b, alpha=1)", 2, {"alpha": "1"}),
        (
            "dare(a, b, 0.5, 7)",
            2,
            {"density": "0.5", "seed": "7", "lambda": "1"},
        ),
        (
            "dare(a, b, seed=7, lambda=-0.1, density=0.5)",
            2,
            {"density": "0.5", "seed": "7", "lambda": "-0.1"},
        ),
        (
            "ties(a, b, c, b + c - a, density=0.2)",
            4,
            {"density": "0.2", "lambda": "1"},
        ),
    ],
)
def test_tree_of_a_method(text: str, models: int, parameters: dict[str, str]) -> None:
    tree = parse(text, label="x")
    assert isinstance(tree, MethodCall)
    assert tree.method == text.partition("(")[0]
    assert len(tree.models) == models
    exact = [(name, Fraction(value)) for name, value in parameters.items()]
    assert list(tree.parameters) == exact


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
        (f"mbw(a, b, '{zeros(5)}')", 12, "block-weights", "got 5 block weights"),
        (f"mbw(a, b, '{zeros(19)}')", 12, "block-weights", "expected 20 (BASE, IN00"),
        (f"mbw(a, b, '{zeros(19)},x')", 50, "block-weights", "weight of OUT08"),
        (f"mbw(a, b, '0,,{zeros(18)}')", 14, "block-weights", "got nothing as the"),
        (f"mbw(a, b, '1e1,{zeros(19)}')", 12, "block-weights", "weight of BASE"),
        (f"mbw(a, b, '1/2,{zeros(19)}')", 12, "block-weights", "weight of BASE"),
        ("only(a)", 7, "recipe-syntax", "got ')', expected ','"),
        ("only(a, 0.5)", 9, "recipe-syntax", "expected a part or a block"),
        ("only(a, unet,)", 14, "recipe-syntax", "expected a part or a block"),
        ("lora(a + b)", 8, "recipe-syntax", "got '+', expected ')'"),
        ("lora(0.5)", 6, "recipe-syntax", "expected the name of an ingredient"),
        ("a = b", 3, "recipe-syntax", "got '='"),
        ("lerp(a, b, t=0.5)", 13, "recipe-syntax", "got '='"),
        ("slerp(a)", 1, "recipe-syntax", "got 1 models in slerp, expected 2"),
        ("slerp(a, b)", 1, "method-parameter", "got no t in slerp"),
        ("slerp(a, b, 2)", 13, "method-parameter", "expected a number from 0 to 1"),
        ("slerp(a, b, -.1)", 13, "method-parameter", "got -0.1 for t"),
        ("slerp(a, b, c)", 13, "method-parameter", "no plain number for t"),
        ("slerp(a, b, 0.1 + 0.1)", 13, "method-parameter", "no plain number for t"),
        ("slerp(a, b, 1, 1)", 16, "recipe-syntax", "one argument too many"),
        ("slerp(a, b, 1, t=1)", 16, "method-parameter", "got t twice"),
        ("slerp(a, b, tt=1)", 13, "method-parameter", "slerp has no parameter 'tt'"),
        ("dare(a, b, 0, 1)", 12, "method-parameter", "a number above 0, up to 1"),
        ("dare(a, b, 1, 0.5)", 15, "method-parameter", "expected a whole number"),
        ("dare(a, b, 1)", 1, "method-parameter", "got no seed in dare"),
        ("ties(a, b, 0.5)", 1, "method-parameter", "got no density in ties"),
        ("a + train_difference(a, b)", 5, "method-not-built", "is not linear and not"),
        ("trainDifference(a, b)", 1, "method-not-built", "refused rather than approxi"),
        ("smoothAdd(a, b)", 1, "method-not-built", "smoothAdd is not linear"),
        ("tensor(a, b)", 1, "method-not-built", "tensor is not built; it is refused"),
        ("self(a)", 1, "method-not-built", "self is not built"),
        ("distribution_crossover(a)", 1, "method-not-built", "is not linear and not b"),
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
    assert caught.value.excerpt is not None
    assert caught.value.excerpt.text == expression
    assert caught.value.excerpt.column == column


@pytest.mark.parametrize(
    ("expression", "hint"),
    [
        ("a / 2", "multiply by a decimal"),
        ("a \N{MINUS SIGN} b", "type - from the keyboard"),
        ("a \N{MULTIPLICATION SIGN} b", "type * from the keyboard"),
        ("2e-3", "write 0.001"),
        ("a b", "0.5 * a"),
        ("leap(a, b, 1)", "did you mean lerp(a, b, t)?"),
        ("f(a)", "there are lerp, mbw, only, lora, slerp, add_cosine, dare, ties"),
        ("cosineA(a, b)", "the nearest that is built is add_cosine(a, b, alpha)"),
        ("slerp(a, b)", "it is called as slerp(a, b, t)"),
        ("ties(a, b, .5)", "ties(base, other, ..., density=NUMBER, lambda=1)"),
        ("slerp(a, b, tt=1)", "did you mean t?"),
        (f"mbw(a, b, '{zeros(19)}')", "BASE, is probably missing"),
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
