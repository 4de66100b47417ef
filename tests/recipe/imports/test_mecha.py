from fractions import Fraction

import pytest

from release.errors import RecipeError
from release.recipe.imports.mecha import import_mecha
from release.recipe.imports.read import import_metadata
from release.recipe.imports.to_toml import to_toml

MODEL = 'model "{}.safetensors" model_config="sdxl-sgm" merge_space="weight"'
BLOCKS = (
    [f"IN{at:02}" for at in range(9)] + ["M00"] + [f"OUT{at:02}" for at in range(9)]
)
DICT = (
    "dict BASE=0.0 M00=0.0 VAE=0.0 IN00=0.1 IN01=0.1 IN02=0.0 IN03=0.1 IN04=0.1"
    " IN05=0.0 IN06=0.1 IN07=0.1 IN08=0.0 OUT00=0.0 OUT01=0.0 OUT02=0.0 OUT03=0.05"
    " OUT04=0.05 OUT05=0.05 OUT06=0.05 OUT07=0.05 OUT08=0.05"
)
GAMMA_REV2 = "\n".join(
    [
        "version 0.1.0",
        MODEL.format("/home/me/my models/beta7"),
        MODEL.format("anxl3"),
        MODEL.format("anxl2"),
        'merge "subtract" &1 &2',
        "dict key=1.0",
        'literal &4 model_config="singleton-mecha" merge_space="param"',
        'merge "convert_singleton" &5',
        'merge "add_difference" &0 &3 &6',
        MODEL.format("base8"),
        'merge "subtract" &8 &0',
        "dict key=0.25",
        'literal &10 model_config="singleton-mecha" merge_space="param"',
        'merge "convert_singleton" &11',
        'merge "scale" &9 &12',
        'merge "add_difference" &7 &13 &6',
        DICT,
        'literal &15 model_config="sdxl-supermerger_blocks" merge_space="param"',
        'merge "convert_sdxl_blocks_to_sgm" &16',
        'merge "weighted_sum" &14 &1 &17',
    ]
)
"""What sd-mecha 1.1.8 writes for gamma rev2, with paths shortened."""


def text(*lines: str) -> str:
    """A text about the models a (0), b (1) and c (2)."""
    return "\n".join(["version 0.1.0", *map(MODEL.format, "abc"), *lines])


def refused(content: str) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        import_mecha(content)
    return caught.value


def gamma_row(weight: str) -> dict[str, Fraction]:
    rest = 1 - Fraction(weight)
    row = {"beta7": Fraction("0.75"), "anxl2": Fraction(-1), "base8": Fraction("0.25")}
    return {name: value * rest for name, value in row.items()} | {"anxl3": Fraction(1)}


def test_gamma_rev2_has_the_known_coefficients_in_every_block(rows_of):
    rows = rows_of(import_mecha(GAMMA_REV2))

    assert rows["BASE/clip_l"] == gamma_row("0")
    assert rows["BASE/time_embed"] == gamma_row("0")
    assert rows["VAE/vae"] == gamma_row("0")
    assert [rows[f"{block}/unet"] for block in BLOCKS] == [
        gamma_row(each) for each in ["0.1", "0.1", "0"] * 3 + ["0"] * 4 + ["0.05"] * 6
    ]


def test_gamma_rev2_says_its_convention_and_files_without_folders():
    imported = import_mecha(GAMMA_REV2)

    assert imported.convention == "sd-mecha"
    assert [each.file for each in imported.ingredients] == [
        "beta7.safetensors",
        "anxl3.safetensors",
        "anxl2.safetensors",
        "base8.safetensors",
    ]
    assert "my models" not in to_toml(imported)


def test_the_text_in_a_header_is_the_same_recipe():
    assert import_metadata({"mecha_recipe": GAMMA_REV2}) == import_mecha(GAMMA_REV2)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (['merge "weighted_sum" &0 &1'], {"a": "0.5", "b": "0.5"}),
        (['merge "weighted_sum" &0 &1 alpha=0.3'], {"a": "0.7", "b": "0.3"}),
        (['merge "weighted_sum" a=&0 b=&1 alpha=3e-1'], {"a": "0.7", "b": "0.3"}),
        (['merge "weighted_sum" &0 &1 -1'], {"a": "2", "b": "-1"}),
        (['merge "n_average" &0 &1'], {"a": "0.5", "b": "0.5"}),
        (['merge "n_average" &0'], {"a": "1"}),
        (
            ['merge "subtract" &1 &2', 'merge "add_difference" &0 &3 2'],
            {"a": "1", "b": "2", "c": "-2"},
        ),
        (
            ['merge "subtract" &1 &2', 'merge "add_difference" &0 &3 0.8'],
            {"a": "1", "b": "0.8", "c": "-0.8"},
        ),
        (
            [
                'merge "subtract" &1 &2',
                'merge "scale" &3 0.5',
                'merge "scale" &4',
                'merge "add_difference" &0 &5',
            ],
            {"a": "1", "b": "0.5", "c": "-0.5"},
        ),
        (
            [
                'merge "subtract" &1 &2',
                'merge "subtract" &0 &2',
                'merge "weighted_sum" &3 &4 0.5',
                'merge "add_difference" &2 &5',
            ],
            {"a": "0.5", "b": "0.5"},
        ),
        (["# a comment", '  merge "weighted_sum" &0 &1  '], {"a": "0.5", "b": "0.5"}),
        (['merge "weighted_sum" &0 &1\n'], {"a": "0.5", "b": "0.5"}),
        (['merge "weighted_sum" &0 &1', "# the end"], {"a": "0.5", "b": "0.5"}),
    ],
)
def test_the_linear_methods(lines, expected, rows_of):
    rows = rows_of(import_mecha(text(*lines)))

    wanted = {name: Fraction(value) for name, value in expected.items()}
    assert all(row == wanted for row in rows.values())


def test_the_average_of_three_sums_to_1_and_is_a_third_to_24_digits(rows_of):
    row = rows_of(import_mecha(text('merge "n_average" &0 &1 &2')))["M00/unet"]

    assert sum(row.values()) == 1
    assert all(
        abs(value - Fraction(1, 3)) < Fraction(1, 10**23) for value in row.values()
    )


def test_block_weights_scale_a_difference(rows_of):
    lines = [
        'merge "subtract" &1 &2',
        DICT.replace("VAE=0.0", "VAE=0.7"),
        'literal &4 model_config="sdxl-supermerger_blocks" merge_space="param"',
        'merge "convert_sdxl_blocks_to_sgm" &5',
        'merge "scale" &3 &6',
        'merge "add_difference" &0 &7',
        'merge "add_difference" &0 &3 &6',
    ]

    scaled = rows_of(import_mecha(text(*lines[:6])))
    added = rows_of(import_mecha(text(*lines)))

    assert scaled == added
    assert added["VAE/vae"] == {"a": 1, "b": Fraction(7, 10), "c": Fraction(-7, 10)}
    assert added["BASE/clip_g"] == {"a": 1}


def test_slerp_is_the_languages_own(rows_of):
    imported = import_mecha(text('merge "slerp" &0 &1 0.25'))

    assert imported.steps == (("merged", "slerp(a, b, 0.25)"),)
    assert rows_of(imported)


def test_a_last_fallback_is_where_missing_tensors_come_from(rows_of):
    imported = import_mecha(
        text('merge "weighted_sum" &0 &1', 'merge "fallback" &3 &2')
    )

    assert imported.missing == "keep:c"
    assert [each.name for each in imported.ingredients] == ["a", "b", "c"]
    assert rows_of(imported)


def test_a_last_cast_is_a_hint_and_an_inner_one_a_warning():
    last = import_mecha(
        text('merge "weighted_sum" &0 &1', 'merge "cast" &3 dtype="bfloat16"')
    )
    inner = import_mecha(
        text('merge "cast" &0 "cpu" "float16"', 'merge "weighted_sum" &3 &1')
    )

    assert (last.dtype_hint, last.warnings) == ("BF16", ())
    assert inner.dtype_hint == ""
    assert inner.warnings == ("line 6: the origin rounds to F16 before this merge",)


def test_a_cast_as_the_origin_writes_it():
    """Its arguments are literals of texts and null."""
    imported = import_mecha(
        text(
            'merge "fallback" &0 &1',
            "dict key=null",
            'literal &4 model_config="singleton-mecha" merge_space="param"',
            'merge "convert_singleton" &5',
            'dict key="float32"',
            'literal &7 model_config="singleton-mecha" merge_space="param"',
            'merge "convert_singleton" &8',
            'merge "cast" &3 &6 &9',
        )
    )

    assert imported.steps == (("merged", "a"),)
    assert (imported.dtype_hint, imported.missing) == ("F32", "keep:b")


def test_what_the_output_does_not_need_is_left_out():
    imported = import_mecha(
        text('merge "n_average" &0 &1 &2', 'merge "weighted_sum" &0 &1')
    )

    assert imported.steps == (("merged", "lerp(a, b, 0.5)"),)
    assert [each.name for each in imported.ingredients] == ["a", "b"]


def test_an_equals_sign_and_escapes_in_a_path_belong_to_it():
    lines = text().replace('"a.safetensors"', r'"C:\\x=1\\\"q\" y=2.safetensors"')

    imported = import_mecha(lines + '\nmerge "weighted_sum" &0 &1')

    assert imported.ingredients[0].file == '"q" y=2.safetensors'


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        ("version 0.2.0", "import-mecha-version", "line 1: got 'version 0.2.0'"),
        ("version 0.1.0 ", "import-mecha-version", "expected 'version 0.1.0'"),
        ("", "import-mecha-version", "line 1: got ''"),
        ("version 0.1.0", "import-mecha-line", "expected the output"),
        ("version 0.1.0\n\n", "import-mecha-line", "line 2: got a blank line"),
        (text("", 'merge "n_average" &0'), "import-mecha-line", "line 5: got a blank"),
        (text('merge "n_average" &0\n\n'), "import-mecha-line", "line 6: got a blank"),
        (text("print 1"), "import-mecha-line", "line 5: got the instruction 'print'"),
        (text('merge "add_cosine_a" &0 &1'), "import-method", "line 5: got the method"),
        (text('merge "ties_sum" &0 &1'), "import-method", "'ties_sum'"[1:-1]),
        (text("merge weighted_sum &0 &1"), "import-number", "line 5: got 'weighted"),
        (text("merge &0"), "import-method", "line 5"),
        (text("merge"), "import-method", "got the method None"),
        (text('merge "subtract" &0 &3'), "import-mecha-line", "&3 is not yet there"),
        (text('merge "subtract" &0 &99999'), "import-mecha-line", "&99999"),
        (text('merge "subtract" &0 &1'), "import-mecha-line", "is a difference"),
        (text('merge "subtract" &0'), "import-mecha-line", "a model as argument b"),
        (text('merge "subtract" &0 &1 &2'), "import-mecha-line", "got 3 arguments"),
        (text('merge "subtract" &0 a=&1'), "import-mecha-line", "argument a twice"),
        (text('merge "subtract" a=&0 a=&1'), "import-mecha-line", "argument a twice"),
        (text('merge "subtract" &0 x=&1'), "import-mecha-line", "argument x expected"),
        (
            text('merge "subtract" &0 &1', 'merge "weighted_sum" &0 &3'),
            "import-mecha-line",
            "line 6: got a difference as argument b, expected a model",
        ),
        (
            text('merge "add_difference" &0 &1'),
            "import-mecha-line",
            "got a model as argument b, expected a difference",
        ),
        (text('merge "weighted_sum" &0 &1 "x"'), "import-mecha-line", "as alpha"),
        (text('merge "weighted_sum" &0 &1 &2'), "import-mecha-line", "as alpha"),
        (text('merge "weighted_sum" &0 &1 0x1'), "import-number", "line 5: got '0x1'"),
        (text('merge "weighted_sum" &0 &1 nan'), "import-number", "got 'nan'"),
        (text('merge "weighted_sum" &0 &1 1e999'), "import-number", "up to 1,000"),
        (text('merge "slerp" &0 &1 1.5'), "import-method", "slerp"),
        (text('merge "cast" &0 dtype="int8"'), "import-method", "dtype 'int8'"),
        (text('merge "cast" &0 dtype=5'), "import-mecha-line", "expected texts"),
        (text('merge "n_average" x=&0'), "import-mecha-line", "without names"),
        (
            text('merge "fallback" &0 &1', 'merge "weighted_sum" &3 &2'),
            "import-method",
            "line 6: fallback is followed by another merge",
        ),
        (
            text('merge "weighted_sum" &0 &1', 'merge "fallback" &0 &3'),
            "import-method",
            "line 6: fallback to a merge",
        ),
        (text("dict key=1", 'merge "n_average" &3'), "import-mecha-line", "got a dict"),
        (text("dict key=&0"), "import-mecha-line", "got a reference for key"),
        (text("dict"), "import-mecha-line", "NAME=VALUE"),
        (
            text("dict key=1 other=2", 'literal &3 model_config="singleton-mecha"'),
            "import-mecha-line",
            "got 2 values",
        ),
        (
            text(
                DICT.replace(" VAE=0.0", ""),
                'literal &3 model_config="sdxl-supermerger_blocks"',
            ),
            "import-mecha-line",
            "got 20 values",
        ),
        (
            text(
                DICT.replace("M00=0.0", "M00=null"),
                'literal &3 model_config="sdxl-supermerger_blocks"',
            ),
            "import-mecha-line",
            "line 6: got the block weight None",
        ),
        (
            text(
                'dict key="x"',
                'literal &3 model_config="singleton-mecha"',
                'merge "convert_sdxl_blocks_to_sgm" &4',
            ),
            "import-mecha-line",
            "line 7: expected one argument",
        ),
        (text("literal &0"), "import-mecha-line", "expected a reference to a dict"),
        (
            text(
                DICT,
                'literal &3 model_config="sdxl-supermerger_blocks"',
                'merge "convert_singleton" &4',
            ),
            "import-mecha-line",
            "line 7: expected one argument",
        ),
        (
            text().replace('"sdxl-sgm"', '"sd1-ldm"', 1),
            "import-architecture",
            "line 2: the model has the configuration sd1-ldm",
        ),
        (
            text().replace('"weight"', '"delta"', 1),
            "import-mecha-line",
            "line 2: the model is in delta space",
        ),
        (text('model "x'), "import-mecha-line", "line 5: got '\"x'"),
        (text('model "x"y'), "import-mecha-line", "expected an argument"),
        (text("merge \x00\x1b"), "import-number", r"\u0000\u001b"),
        (text("dict " + "a=1 " * 101), "import-mecha-line", "argument a twice"),
        (
            text("dict " + " ".join(f"a{at}=1" for at in range(101))),
            "import-mecha-line",
            "at most 100 arguments",
        ),
        ("version 0.1.0\n" + "#\n" * 2001, "import-too-large", "2,000 lines"),
        ("version 0.1.0\n" + "#" * 10_000_000, "import-too-large", "10,000,014"),
        (text('model "' + "\\" * 100_001), "import-mecha-line", "line 5"),
    ],
)
def test_what_is_not_supported_is_refused_by_line(content, code, words):
    error = refused(content)

    assert error.code == code
    assert words in str(error)
    assert error.hint
    assert error.exit_code == 3


def test_more_steps_than_a_recipe_has_are_refused():
    lines = ['merge "weighted_sum" &0 &1']
    lines += [f'merge "weighted_sum" &{3 + at} &1 0' for at in range(100)]

    assert refused(text(*lines)).code == "import-too-large"


def test_as_many_steps_as_a_recipe_has_are_imported(rows_of):
    lines = ['merge "weighted_sum" &0 &1 1']
    lines += [f'merge "weighted_sum" &{3 + at} &{at % 2} 0' for at in range(99)]

    assert rows_of(import_mecha(text(*lines)))["M00/unet"] == {"b": 1}


def test_more_models_than_a_recipe_has_are_refused():
    lines = [MODEL.format(f"m{at}") for at in range(62)]

    assert refused(text(*lines)).code == "import-too-large"
