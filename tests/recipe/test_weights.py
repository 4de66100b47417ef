"""Block weights in every form they may be written in."""

from fractions import Fraction

import pytest

from release.errors import RecipeError
from release.recipe.cells import Cell, Part
from release.recipe.tokens import Place
from release.recipe.weights import WEIGHT_BLOCKS, BlockWeights, read_weights

TWENTY = ",".join(f"0.{index:02}" for index in range(1, 21))
# BASE, IN00..IN11, M00, OUT00..OUT11, as SD1 has them: 26 different numbers.
SD1 = ",".join(f"0.{index:02}" for index in range(1, 27))


def read(text: str) -> BlockWeights:
    return read_weights(text, place=Place("x", text), column=1)


def hundredths(weights: BlockWeights) -> dict[str, int]:
    return {name: int(value * 100) for name, value in weights.by_name().items()}


def test_list_is_exact_and_in_order() -> None:
    weights = read(" 0.1 , .2,3. ," + TWENTY.split(",", 3)[3])
    assert weights.listed[:4] == (
        Fraction(1, 10),
        Fraction(1, 5),
        Fraction(3),
        Fraction(1, 25),
    )
    assert weights.n_listed == 20
    assert hundredths(read(TWENTY)) == {
        block: at for at, block in enumerate(WEIGHT_BLOCKS, 1)
    }


def test_26_numbers_lose_the_blocks_that_sdxl_lacks() -> None:
    weights = read(SD1)
    inner = {f"IN{index:02}": index + 2 for index in range(9)}
    outer = {f"OUT{index:02}": index + 15 for index in range(9)}
    assert hundredths(weights) == {"BASE": 1, **inner, "M00": 14, **outer}
    # IN09, IN10, IN11, OUT09, OUT10, OUT11
    assert [int(value * 100) for value in weights.left_out] == [11, 12, 13, 24, 25, 26]


def test_21st_number_is_the_vae() -> None:
    weights = read(f"{TWENTY},0.99")
    assert weights.extra == Fraction(99, 100)
    assert hundredths(weights)["VAE"] == 99


@pytest.mark.parametrize(
    "text",
    [
        "0.1, OUT03=0.05",
        "0.1; OUT03=0.05",
        "0.1;OUT03 = 0.05",
        ",".join(["0.1"] * 20) + "; OUT03=0.05",
    ],
)
def test_named_block_overrides_what_stands_before_it(text: str) -> None:
    expected = dict.fromkeys(WEIGHT_BLOCKS, 10) | {"OUT03": 5}
    assert hundredths(read(text)) == expected


def test_every_block_may_be_named() -> None:
    text = ", ".join(f"{block}=0.25" for block in reversed(WEIGHT_BLOCKS))
    assert read(text).listed == (Fraction(1, 4),) * 20


def test_part_counts_before_the_block_it_is_in() -> None:
    weights = read("0.1; time_embed=0.2, vae=-1, IN00=0.3")
    value = {
        (block, part): weights.of(Cell(block, part))
        for block, part in (
            ("IN00", Part.TIME_EMBED),
            ("IN00", Part.UNET),
            ("BASE", Part.VAE),
            ("KEEP", Part.VAE),
            ("KEEP", Part.CLIP_G),
            ("OUT08", Part.OUT),
        )
    }
    assert list(value.values()) == [
        Fraction(1, 5),
        Fraction(3, 10),
        -1,
        -1,
        0,
        Fraction(1, 10),
    ]


@pytest.mark.parametrize(
    ("text", "column", "words", "hint"),
    [
        ("", 1, "got no block weights, expected 20", "in this order"),
        ("0.1", 1, "got 1 block weight, expected 20", "lerp(a, b, t) takes one number"),
        (TWENTY[5:], 1, "got 19 block weights", "BASE, is probably missing"),
        (TWENTY + ",0,0", 1, "got 22 block weights", "in this order"),
        (SD1[5:], 1, "got 25 block weights", "without BASE"),
        ("0, OUT3=1", 4, "a weight of 'OUT3'", "did you mean OUT03?"),
        ("0, unet=1", 4, "a weight of 'unet'", "each of its blocks"),
        ("0, out=1, out=2", 11, "the weight of out twice", "leave one"),
        ("0, out=1, 2", 11, "got '2' after named", "numbers come first"),
        (TWENTY + "; 2", 102, "got '2' after", "numbers come first"),
        ("0, out=", 4, "got nothing as the weight of out", "the order is BASE"),
        ("0, out=1e2", 4, "got '1e2' as the weight of out", "the order is"),
        ("0, =1", 4, "got '1' as a weight", "the order is"),
        ("0, IN00=1=2", 4, "got '1=2' as the weight of IN00", "the order"),
        ("x, IN00=1", 1, "got 'x' as the weight of every block", "the order"),
        ("IN00=1, M00=2", 1, "got no weight for BASE, IN01", "'0, IN00=1, M00=2'"),
        (TWENTY[:-4] + "\u0663", 96, "as the weight of OUT08", "the order"),
        ("0, out=1" + "0" * 40, 4, "as the weight of out", "the order"),
    ],
)
def test_wrong_weights_are_refused_where_they_are_wrong(
    text: str, column: int, words: str, hint: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        read(text)
    assert caught.value.code == "block-weights"
    assert words in str(caught.value)
    assert hint in caught.value.hint
    assert caught.value.excerpt is not None
    assert caught.value.excerpt.column == column
