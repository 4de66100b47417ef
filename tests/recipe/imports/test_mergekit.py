from fractions import Fraction

import pytest

from release.errors import RecipeError
from release.recipe.imports.mergekit import import_mergekit
from release.recipe.imports.read import import_text

GAMMA_REV2_SUM = """\
merge_method: linear
models:
  - model: models/beta7.safetensors
    parameters: {weight: 0.75}
  - model: anxl3.safetensors
    parameters: {weight: 1}
  - model: anxl2.safetensors
    parameters: {weight: -1}
  - model: KBlueLeaf/base8@main
    parameters: {weight: 2.5e-1}
parameters:
  normalize: false
dtype: float32
out_dtype: float16
"""
WEIGHTS = ["0.1", "0.1", "0"] * 3 + ["0"] * 4 + ["0.05"] * 6
FILTERS = (
    [f"input_blocks.{at}." for at in range(9)]
    + ["middle_block."]
    + [f"output_blocks.{at}." for at in range(9)]
)


def blocks(factor: str, total: str) -> str:
    """Entries of a weight: `total` less `factor` times the block's weight."""
    values = [Fraction(total) - Fraction(factor) * Fraction(each) for each in WEIGHTS]
    lines = [
        f"        - {{value: {float(value)}, filter: {text}}}"
        for text, value in zip(FILTERS, values, strict=True)
    ]
    return "\n".join([*lines, f"        - {{value: {total}}}"])


GAMMA_REV2 = f"""\
merge_method: linear
models:
  - model: beta7.safetensors
    parameters:
      weight:
{blocks("0.75", "0.75")}
  - model: anxl3.safetensors
    parameters: {{weight: 1}}
  - model: anxl2.safetensors
    parameters:
      weight:
{blocks("-1", "-1")}
  - model: base8.safetensors
    parameters:
      weight:
{blocks("0.25", "0.25")}
parameters: {{normalize: false}}
"""
TWO = """\
models:
  - model: a.safetensors
    parameters: {weight: WA}
  - model: b.safetensors
    parameters: {weight: WB}
"""


def two(method="linear", a="1", b="1", more=""):
    return f"merge_method: {method}\n{TWO.replace('WA', a).replace('WB', b)}{more}\n"


def refused(text: str) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        import_mergekit(text)
    return caught.value


def test_gamma_rev2_without_blocks(rows_of):
    imported = import_mergekit(GAMMA_REV2_SUM)

    assert imported.steps == (
        ("merged", "0.75 * beta7 + anxl3 + -1 * anxl2 + 0.25 * base8"),
    )
    assert imported.dtype_hint == "F16"
    assert [each.hub for each in imported.ingredients][-1] == "KBlueLeaf/base8@main"
    assert imported.ingredients[0].file == "beta7.safetensors"
    assert "models/" not in str(imported.ingredients)
    assert rows_of(imported)["OUT03/unet"]["beta7"] == Fraction(3, 4)


def test_gamma_rev2_with_a_filter_for_every_block(rows_of):
    rows = rows_of(import_mergekit(GAMMA_REV2))

    for cell, weight in (("IN01", "0.1"), ("OUT03", "0.05"), ("M00", "0")):
        rest = 1 - Fraction(weight)
        assert rows[f"{cell}/unet"] == {
            "beta7": Fraction(3, 4) * rest,
            "anxl3": 1,
            "anxl2": -rest,
            "base8": Fraction(1, 4) * rest,
        }
    assert rows["VAE/vae"]["anxl2"] == -1
    assert rows["OUT08/out"]["anxl2"] == -1
    assert rows["BASE/time_embed"]["beta7"] == Fraction(3, 4)


def test_linear_divides_by_the_sum_unless_told_otherwise(rows_of):
    plain = rows_of(import_mergekit(two(a="3", b="1")))
    told = rows_of(
        import_mergekit(two(a="3", b="1", more="parameters: {normalize: off}"))
    )

    assert plain["M00/unet"] == {"a": Fraction(3, 4), "b": Fraction(1, 4)}
    assert told["M00/unet"] == {"a": 3, "b": 1}


def test_thirds_sum_to_1(rows_of):
    row = rows_of(import_mergekit(two(a="1", b="2")))["M00/unet"]

    assert sum(row.values()) == 1
    assert abs(row["b"] - Fraction(2, 3)) < Fraction(1, 10**23)


def test_shares_of_three_models_sum_to_1(rows_of):
    third = "  - {model: c.ckpt, parameters: {weight: 1}}"

    row = rows_of(import_mergekit(two(more="").rstrip() + "\n" + third))["M00/unet"]

    assert sum(row.values()) == 1
    assert set(row) == {"a", "b", "c"}


def test_a_weight_for_all_models_counts_where_a_model_has_none(rows_of):
    text = two(
        a="[{value: 3, filter: first_stage}]",
        b="2",
        more="parameters: {weight: 1, normalize: false}",
    )

    rows = rows_of(import_mergekit(text))

    assert rows["VAE/vae"] == {"a": 3, "b": 2}
    assert rows["M00/unet"] == {"a": 1, "b": 2}


def test_the_first_fitting_entry_wins(rows_of):
    entries = (
        "[{value: 0.5, filter: embedders.1}, {value: 0.25, filter: '*'},"
        " {value: 9, filter: out}]"
    )

    rows = rows_of(
        import_mergekit(two(a=entries, more="parameters: {normalize: false}"))
    )

    assert rows["BASE/clip_g"]["a"] == Fraction(1, 2)
    assert rows["BASE/clip_l"]["a"] == Fraction(1, 4)
    assert rows["OUT08/out"]["a"] == Fraction(1, 4)


def test_task_arithmetic_adds_differences_to_the_base(rows_of):
    more = "base_model: base.safetensors\nparameters: {lambda: 0.5}"

    rows = rows_of(import_mergekit(two("task_arithmetic", "0.8", "-0.4", more)))

    assert rows["IN04/unet"] == {
        "a": Fraction(2, 5),
        "b": Fraction(-1, 5),
        "base": Fraction(4, 5),
    }


def test_task_arithmetic_ignores_a_weight_of_the_base(rows_of):
    more = "base_model: a.safetensors\nparameters: {normalize: true}"

    rows = rows_of(import_mergekit(two("task_arithmetic", "7", "0.5", more)))

    assert rows["IN04/unet"] == {"b": 1}


def test_a_model_without_any_weight_is_no_ingredient(rows_of):
    imported = import_mergekit(two(a="1", b="0"))

    assert [each.name for each in imported.ingredients] == ["a"]
    assert "weight of 0" in imported.notes[-1]


def test_json_is_yaml_too():
    text = (
        '{"merge_method": "linear", "models": ['
        '{"model": "a.ckpt", "parameters": {"weight": 1.0}}]}'
    )

    assert import_text(text).steps == (("merged", "a"),)


BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + at)}: &{chr(98 + at)} [*{chr(97 + at)}, *{chr(97 + at)}]\n"
    for at in range(20)
)


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (two("slerp"), "import-method", "merge_method: got 'slerp'"),
        (two("dare_ties"), "import-method", "got 'dare_ties'"),
        (two("ties"), "import-method", "expected linear or task_arithmetic"),
        (two("passthrough"), "import-method", "passthrough"),
        ("models: []", "import-method", "merge_method: got 'None'"),
        (
            two(more="slices: []"),
            "import-method",
            "slices: is put together from layers",
        ),
        (two(more="modules: {}"), "import-method", "modules"),
        (two(more="frobnicate: 1"), "import-field", "frobnicate: unknown key"),
        ("merge_method: linear", "import-field", "models: expected a list"),
        ("merge_method: linear\nmodels: [x]", "import-field", "models[0]: expected"),
        (
            "merge_method: linear\nmodels: [{model: x, weight: 1}]",
            "import-field",
            "models[0]",
        ),
        (
            "merge_method: linear\nmodels: [{model: {path: x}}]",
            "import-field",
            "models[0].model",
        ),
        (
            two().replace("a.safetensors", "a+lora"),
            "import-method",
            "models[0].model: adds a LoRA",
        ),
        (two().replace("b.saf", "a.saf"), "import-field", "models[1].model: is there"),
        (two("task_arithmetic"), "import-field", "base_model: is missing"),
        (two(more="base_model: [x]"), "import-field", "base_model"),
        (two(more="base_model: c"), "import-setting", "base_model.parameters.weight"),
        (
            two(a="[0, 0.5, 1]"),
            "import-setting",
            "models[0].parameters.weight: is a gradient",
        ),
        (two(a="{value: [0, 1]}"), "import-setting", "gradient"),
        (two(a="[]"), "import-setting", "models[0].parameters.weight"),
        (two(a="{value: 1, filter: 3, x: 2}"), "import-setting", "unknown key x"),
        (two(a="{filter: x}"), "import-setting", "weight[0]: expected a number"),
        (two(a="{value: 1, filter: [a]}"), "import-setting", "a text as filter"),
        (two(a="true"), "import-setting", "models[0].parameters.weight"),
        (two(a="heavy"), "import-number", "models[0].parameters.weight: got 'heavy'"),
        (two(a="0x10"), "import-number", "got '0x10'"),
        (two(a="1_000"), "import-number", "got '1_000'"),
        (two(a=".inf"), "import-number", "got '.inf'"),
        (two(a="{value: 1, filter: out.}"), "import-setting", "gives no number for"),
        (
            two(a="[{value: 1, filter: attn1}, {value: 2}]"),
            "import-filter",
            "both are in IN04/unet",
        ),
        (
            two(a="[{value: 1, filter: output_blocks.1}, {value: 2, filter: x}]"),
            "import-setting",
            "",
        ),
        (
            two(a="[{value: 1, filter: time_embed.0}, {value: 2}]"),
            "import-filter",
            "BASE/time_embed",
        ),
        (two(a="1", b="-1"), "import-field", "weights sum to 0 in BASE/clip_l"),
        (two(a="1", b="-0.9999999999"), "import-number", "the coefficient of a"),
        (two(a="0", b="0", more="parameters: {normalize: no}"), "import-field", "is 0"),
        (two(more="parameters: {normalize: 5}"), "import-field", "true or false"),
        (two(more="parameters: {density: 5}"), "import-setting", "no parameter of lin"),
        (two(more="parameters: [1]"), "import-field", "parameters: expected a mapping"),
        ("a: b: c", "import-yaml", "YAML, line 1"),
        ("- 1", "import-yaml", "expected a mapping"),
        ("just text", "import-yaml", "expected a mapping"),
        ("", "import-yaml", "expected a mapping"),
        ("a: 1\na: 2", "import-yaml", "line 2: got the key a twice"),
        ("1: 2\nnull: 3", "import-yaml", "got a key that is no text"),
        ("[a]: 2", "import-yaml", "got a key that is no text"),
        (BOMB, "import-yaml", "line 1: got an anchor"),
        ("a: *b", "import-yaml", "got an alias"),
        ("a: !!python/object:os.system x", "import-yaml", "got a tag"),
        ("%YAML 1.1\n---\na: 1", "import-yaml", "got a directive"),
        ("a: 1\n---\nb: 1", "import-yaml", "line 2: got a document marker"),
        ("a: " + "[" * 50_000, "import-yaml", "more than 20 levels"),
        ("a: \x00", "import-yaml", "YAML, line 1"),
        ("a: \x1b[31m", "import-yaml", "YAML, line 1"),
        ("a: '" + "x" * 10_000_000 + "'", "import-too-large", "10,000,005"),
    ],
)
def test_what_is_not_supported_is_refused_by_key_path(text, code, words):
    error = refused(text)

    assert error.code == code
    assert words in str(error)
    assert "\n" not in str(error)
    assert error.hint


def test_a_document_marker_at_the_top_is_fine():
    assert import_mergekit("---\n" + two()) == import_mergekit(two())


@pytest.mark.parametrize("method", ["slerp", "dare_ties", "ties"])
def test_a_near_method_is_named_but_not_taken(method):
    assert "not the same mathematics" in refused(two(method)).hint
