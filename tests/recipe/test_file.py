"""Recipe files: what is read, and what is refused where."""

from importlib import resources
from pathlib import Path

import pytest

from release.catalog.recipes import find_recipe, read_recipe_of
from release.errors import RecipeError
from release.recipe.file import read_recipe
from release.recipe.fold import fold
from release.recipe.text import Origin

WHOLE = """
[recipe]
schema = 1
arch = "sdxl"
convention = "sd-mecha"
copy_from = "b"
vae = "a"
missing = "keep:b"
accumulate = "fp64"
nonfinite = "error"

[ingredients]
a = { file = "a.safetensors", sha256 = "SHA", xxh3 = "XXH", autov2 = "0123456789" }
b = { hub = "hf://me/model@v1/sub/b.safetensors", title = "B" }

[steps]
half = "0.5*a + 0.5*b"

[output]
from = "half"
""".replace("SHA", "ab" * 32).replace("XXH", "cd" * 16)

SMALLEST = """
[recipe]
schema = 1
[ingredients]
a = {}
[output]
from = "a"
"""


@pytest.fixture
def write(tmp_path: Path):
    def run(text: str, name: str = "mine.toml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return run


def refusal(path: Path) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        read_recipe(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return caught.value


def test_whole_file_is_read(write) -> None:
    recipe = read_recipe(write(WHOLE))

    assert (recipe.steps, recipe.output) == ({"half": "0.5*a + 0.5*b"}, "half")
    assert (recipe.convention, recipe.copy_from) == ("sd-mecha", "b")
    assert (recipe.vae, recipe.missing) == ("a", "keep:b")
    assert recipe.ingredients == {
        "a": Origin(
            file="a.safetensors",
            sha256="ab" * 32,
            xxh3="cd" * 16,
            autov2="0123456789",
        ),
        "b": Origin(
            title="B", hub="me/model", revision="v1", hub_file="sub/b.safetensors"
        ),
    }


def test_what_is_left_out_has_its_default(write) -> None:
    recipe = read_recipe(write(SMALLEST))

    assert (recipe.convention, recipe.vae, recipe.missing) == (
        "supermerger",
        "merge",
        "error",
    )
    assert fold(recipe).copy_from == "a"
    assert recipe.ingredients == {"a": Origin()}


@pytest.mark.parametrize(
    ("hub", "origin"),
    [
        ("me/model", Origin(hub="me/model")),
        ("me/model@v1.0", Origin(hub="me/model", revision="v1.0")),
        ("hf://me/m/f.ckpt", Origin(hub="me/m", hub_file="f.ckpt")),
    ],
)
def test_hub_reference_is_taken_apart(write, hub: str, origin: Origin) -> None:
    text = SMALLEST.replace("{}", f"{{ hub = '{hub}' }}")

    assert read_recipe(write(text)).ingredients == {"a": origin}


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ("schema = 1", "", "recipe.schema", "is missing"),
        ("schema = 1", "schema = 2", "recipe.schema", "got 2, expected 1"),
        ('arch = "sdxl"', 'arch = "sd1"', "recipe.arch", "got 'sd1', expected 'sdxl'"),
        ("vae =", "vea =", "recipe.vea", "unknown key; did you mean vae?"),
        ("[output]", "[colour]\n[output]", "colour", "unknown key; known: ingredients"),
        ("xxh3 =", "xxh =", "ingredients.a.xxh", "did you mean xxh3?"),
        ("0123456789", "0123", "ingredients.a.autov2", "10 lower case hex digits"),
        ("hf://me/model", "hf://model", "ingredients.b.hub", "expected OWNER/REPO"),
        ("sub/b", "../b", "ingredients.b.hub", "a path inside the repository"),
        ('"fp64"', '"fp32"', "recipe.accumulate", "got 'fp32', expected 'fp64'"),
        ('nonfinite = "error"', 'nonfinite = "keep"', "recipe.nonfinite", "'error'"),
        ("half =", "1half =", "steps.1half", "a letter, then up to 63"),
        ('"0.5*a + 0.5*b"', "3", "steps.half", "got 3, expected"),
        ('from = "half"', 'from = "hafl"', "output.from", "unknown name 'hafl'"),
        ("0.5*a", "0.5 a", "steps.half", "column 5: got 'a'"),
        ('vae = "a"', 'vae = "c"', "recipe.vae", "unknown ingredient 'c'"),
        ('"keep:b"', '"keep"', "recipe.missing", "got 'keep', expected error or keep:"),
        ('"sd-mecha"', '"sdmecha"', "recipe.convention", "unknown block-weight"),
    ],
)
def test_wrong_value_is_refused_at_its_key(
    write, old: str, new: str, key: str, words: str
) -> None:
    assert old in WHOLE
    path = write(WHOLE.replace(old, new))

    message = str(refusal(path))

    assert message.startswith(f"{path}: {key}: ")
    assert words in message


def test_error_in_an_expression_keeps_its_code_and_place(write) -> None:
    error = refusal(write(WHOLE.replace("0.5*a", "a / 2")))

    assert error.code == "recipe-division"
    assert error.excerpt is not None
    assert error.excerpt.lines == ("a / 2 + 0.5*b", "  ^")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[recipe", "is not TOML"),
        (b"[recipe]\nschema = " + b"9" * 5000, "holds an integer of more than 64 bits"),
        (b'a = "\xff"', "is not UTF-8 at byte 5"),
        (b"a = " + b"[" * 20000, "is nested too deeply"),
        (b"#" * (2**20 + 1), "is over 1,048,576 bytes"),
    ],
)
def test_file_that_is_no_recipe_is_refused(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)

    error = refusal(path)

    assert error.code == "recipe-file"
    assert words in str(error)


def test_recipe_is_found_by_name_of_a_release_and_by_file(
    write, tmp_path: Path
) -> None:
    path = write(SMALLEST)

    by_path = find_recipe(str(path), Path("nowhere"))
    by_name = find_recipe("mine", tmp_path)
    release = find_recipe("gamma-rev2", tmp_path)

    assert by_path == by_name
    assert (by_path.name, by_path.folder) == ("mine", tmp_path)
    assert release.recipe.output == "rev2"
    assert release.recipe.ingredients["anxl3"].hub == "cagliostrolab/animagine-xl-3.0"


def test_definition_is_a_recipe_too(write) -> None:
    catalog = resources.files("release.catalog") / "gamma-rev1.toml"
    path = write(catalog.read_text(encoding="utf-8"), "gamma-rev1.toml")

    found = read_recipe_of(path)

    assert found.recipe.steps.keys() == {"rev1"}
    assert fold(found.recipe).copy_from == "beta7"


def test_name_that_is_nothing_is_refused_as_a_release(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        find_recipe("gamma-rev3", tmp_path)
    assert caught.value.code == "unknown-release"
