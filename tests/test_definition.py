import copy
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from release.catalog.find import catalog_names, find_definition
from release.catalog.read import read_definition
from release.definition import Definition, folded_recipe
from release.errors import RecipeError

MBW = "0,0.1,0.1,0,0.1,0.1,0,0.1,0.1,0,0,0,0,0,0.05,0.05,0.05,0.05,0.05,0.05"

SMALLEST: dict[str, Any] = {
    "schema": 1,
    "release": {
        "name": "mine",
        "title": "Mine",
        "summary": "A merge.",
        "author": "me",
        "file_stem": "mine",
        "tag": "v1",
        "repo": "me/mine",
        "architecture": "sdxl",
        "variants": ["fp16", "fp8"],
    },
    "recipe": {
        "steps": {"out": "0.5*a + 0.5*b"},
        "output": "out",
        "convention": "supermerger",
        "copy_from": "a",
    },
    "ingredients": {"a": {"title": "A"}, "b": {"title": "B"}},
    "licence": {"name": "mit", "link": "https://example.org/mit"},
    "usage": {
        "min_pixels": 786432,
        "max_pixels": 1310720,
        "training_resolution": "1024x1024",
        "cfg_min": 4,
        "cfg_max": 7.5,
        "sampler": "any",
        "prompt_format": "tags",
        "example_prompt": "1girl",
    },
}


def toml_value(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return "'" + value + "'"
        case list():
            return "[" + ", ".join(map(toml_value, value)) + "]"
        case dict():
            pairs = (f"'{key}' = {toml_value(item)}" for key, item in value.items())
            return "{ " + ", ".join(pairs) + " }"
        case _:
            return str(value)


def write(path: Path, document: dict[str, Any]) -> Path:
    lines = (f"{key} = {toml_value(value)}\n" for key, value in document.items())
    path.write_text("".join(lines), encoding="utf-8")
    return path


def changed(*keys: str, to: object) -> dict[str, Any]:
    document = copy.deepcopy(SMALLEST)
    table = document
    for key in keys[:-1]:
        table = table.setdefault(key, {})
    if to is None:
        del table[keys[-1]]
    else:
        table[keys[-1]] = to
    return document


def refusal(path: Path) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        read_definition(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return caught.value


def test_smallest_definition_is_read(tmp_path: Path) -> None:
    definition = read_definition(write(tmp_path / "mine.toml", SMALLEST))
    assert definition.release.variants == ("fp16", "fp8")
    assert definition.recipe.vae == "merge"
    assert definition.usage.cfg_min == 4.0
    assert folded_recipe(definition).decimal_rows()["M00"] == {"a": "0.5", "b": "0.5"}


def test_date_may_be_a_toml_date_or_text(tmp_path: Path) -> None:
    bare = changed("release", "date", to=date(2024, 1, 28))
    text = changed("release", "date", to="2024-01-28")
    read = [
        read_definition(write(tmp_path / "mine.toml", document)).release.date
        for document in (bare, text)
    ]
    assert read == ["2024-01-28"] * 2


def tag_table(*rows: dict[str, str]) -> dict[str, Any]:
    return {"name": "Year", "order": "x", "rows": list(rows)}


@pytest.mark.parametrize(
    ("keys", "to", "key", "words"),
    [
        (
            ("colour",),
            "red",
            "colour",
            "unknown key; known: card, civitai, ingredients",
        ),
        (("schema",), 2, "schema", "got 2, expected 1"),
        (("schema",), None, "schema", "is missing"),
        (("release", "titel"), "x", "release.titel", "did you mean title?"),
        (("release", "title"), 3, "release.title", "got 3, expected a valid string"),
        (("release", "title"), "", "release.title", "expected one line that is not"),
        (("release", "name"), "../x", "release.name", "got '../x', expected up to 64"),
        (("release", "repo"), "mine", "release.repo", "a Hub repository as owner/name"),
        (("release", "file_stem"), "a/b", "release.file_stem", "got 'a/b', expected"),
        (("release", "architecture"), "sd1", "release.architecture", "'sdxl'"),
        (("release", "date"), "today", "release.date", "a date as YYYY-MM-DD"),
        (("release", "variants"), [], "release.variants", "at least 1 item"),
        (("release", "variants"), ["fp9"], "release.variants[0]", "did you mean fp8?"),
        (("release", "variants"), ["fp8", 8], "release.variants[1]", "got 8, expected"),
        (
            ("release", "variants"),
            ["fp8", "fp8"],
            "release.variants[1]",
            "'fp8' is listed twice",
        ),
        (
            ("release", "archives"),
            ["bf16"],
            "release.archives[0]",
            "'bf16' is not one of release.variants",
        ),
        (("recipe", "copy_from"), "aa", "recipe.copy_from", "did you mean a?"),
        (("recipe", "copy_from"), "merge", "recipe.copy_from", "unknown ingredient"),
        (("recipe", "vae"), "zzz", "recipe.vae", "known: a, b, merge"),
        (("recipe", "missing"), "keep:zzz", "recipe.missing", "unknown ingredient"),
        (("recipe", "missing"), "drop", "recipe.missing", "got 'drop', expected error"),
        (("recipe", "output"), "x", "recipe.output", "unknown name 'x'"),
        (("recipe", "convention"), "sdmecha", "recipe.convention", "'sdmecha'"),
        (("recipe", "steps"), {"out": "a / b"}, "recipe.steps.out", "column 3: got"),
        (("recipe", "steps"), {"1x": "a"}, "recipe.steps.1x", "a letter, then up to"),
        (("ingredients", "c"), {"title": "C"}, "ingredients", "not needed for 'out'"),
        (("ingredients", "merge"), {"title": "M"}, "ingredients.merge", "merged VAE"),
        (("ingredients",), {}, "ingredients", "at least 1 item"),
        (
            ("ingredients", "a", "sha256"),
            "ABC",
            "ingredients.a.sha256",
            "64 lower case",
        ),
        (("ingredients", "a", "hubb"), "x", "ingredients.a.hubb", "did you mean hub?"),
        (
            ("ingredients", "a", "facts"),
            "x",
            "ingredients.a.facts",
            "got 'x', expected",
        ),
        (("ingredients", "a"), "x.safetensors", "ingredients.a", "got 'x.safetensors'"),
        (
            ("ingredients", "a", "file"),
            "../x",
            "ingredients.a.file",
            "inside the repos",
        ),
        (("ingredients", "a", "file"), "/etc/x", "ingredients.a.file", "got '/etc/x'"),
        (("usage", "min_pixels"), 2_000_000, "usage.min_pixels", "is above max_pixels"),
        (("usage", "min_pixels"), "786432", "usage.min_pixels", "got '786432', expect"),
        (("usage", "min_pixels"), True, "usage.min_pixels", "got true, expected"),
        (("usage", "min_pixels"), 0, "usage.min_pixels", "got 0, expected greater"),
        (("usage", "cfg_min"), 9, "usage.cfg_min", "9.0..7.5 is not a range"),
        (("usage", "cfg_max"), "inf", "usage.cfg_max", "got 'inf', expected"),
        (("usage", "example_prompt"), None, "usage.example_prompt", "is missing"),
        (
            ("tag_tables",),
            [{"name": "Year", "order": "x", "rows": [{"meaning": "1"}]}],
            "tag_tables[0].rows[0].tag",
            "is missing",
        ),
        (
            ("tag_tables",),
            [{"name": "Year", "order": "x", "rows": [{"tags": "1"}]}],
            "tag_tables[0].rows[0].meaning",
            "is missing, and 2 more",
        ),
        (
            ("tag_tables",),
            [tag_table({"meaning": "1", "tag": "a"}, {"meaning": "2", "tag": "a"})],
            "tag_tables[0].rows[1]",
            "tag 'a' is there twice",
        ),
        (
            ("tag_tables",),
            [tag_table({"meaning": "1", "tag": "a", "other": "b"})],
            "tag_tables[0].rows[0].other",
            "of which vocabulary? tag_tables[0].other names it",
        ),
        (("card", "tags"), ["x", "y", "x"], "card.tags[2]", "tag 'x' is there twice"),
        (("civitai", "clip_skip"), 13, "civitai.clip_skip", "got 13, expected less"),
        (("card", "datasets"), ["no"], "card.datasets[0]", "got 'no', expected a Hub"),
    ],
)
def test_wrong_value_is_refused_at_its_key(
    tmp_path: Path, keys: tuple[str, ...], to: object, key: str, words: str
) -> None:
    path = write(tmp_path / "mine.toml", changed(*keys, to=to))
    message = str(refusal(path))
    assert message.startswith(f"{path}: {key}: ")
    assert words in message


def test_infinite_guidance_is_no_range(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.toml", changed("usage", "cfg_max", to=float("inf")))
    assert "usage.cfg_min: 4.0..inf is not a range" in str(refusal(path))


def test_all_problems_are_counted_and_their_keys_hinted(tmp_path: Path) -> None:
    document = changed("release", "title", to=3)
    document["ingredients"]["b"]["sha256"] = "0"
    document["colour"] = "red"
    error = refusal(write(tmp_path / "mine.toml", document))
    assert "release.title: got 3" in str(error)
    assert str(error).endswith(", and 2 more")
    assert error.hint == "also wrong: ingredients.b.sha256, colour"
    assert error.code == "definition"


def test_unknown_key_of_an_ingredient_named_like_a_key(tmp_path: Path) -> None:
    document = changed("ingredients", "title", to={"title": "T", "hubb": "x"})
    message = str(refusal(write(tmp_path / "mine.toml", document)))
    assert "ingredients.title.hubb: unknown key; did you mean hub?" in message


def test_recipe_error_keeps_its_code_and_hint(tmp_path: Path) -> None:
    document = changed("recipe", "steps", to={"out": "a / b"})
    error = refusal(write(tmp_path / "mine.toml", document))
    assert error.code == "recipe-division"
    assert "multiply by a decimal" in error.hint


def test_foreign_text_cannot_reach_the_terminal_raw(tmp_path: Path) -> None:
    document = changed("release", "architecture", to="\u202eevil\u200b")
    message = str(refusal(write(tmp_path / "mine.toml", document)))
    assert r"\u202eevil\u200b" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"schema = ", "is not TOML"),
        (b"schema = 1\nschema = 1\n", "is not TOML"),
        (b"schema = " + b"9" * 5000, "holds an integer of more than 64 bits"),
        (b"schema = 0x" + b"f" * 9000, "schema: got an integer of more than 64 bits"),
        (b'a = "\xff"', "is not UTF-8 at byte 5"),
        (b"a = " + b"[" * 20000, "is nested too deeply"),
        ("\u00e9".encode() * 2**19 + b"#", "is over 1,048,576 bytes"),
        (b"#" + "\u00e9".encode() * 2**19, "is over 1,048,576 bytes"),
    ],
)
def test_file_that_is_no_definition_is_refused(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    error = refusal(path)
    assert error.code == "definition-file"
    assert words in str(error)


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_path_without_a_file_is_refused(tmp_path: Path, name: str) -> None:
    error = refusal(tmp_path / name)
    assert error.code == "definition-file"


def test_windows_text_file_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.toml", SMALLEST)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_definition(path).release.name == "mine"


def gamma(revision: str, tmp_path: Path) -> Definition:
    return find_definition(f"gamma-{revision}", tmp_path)[0]


def test_catalog_has_both_revisions() -> None:
    assert catalog_names() == ("gamma-rev1", "gamma-rev2")


def test_found_text_is_the_definition_read(tmp_path: Path) -> None:
    definition, text = find_definition("gamma-rev2", tmp_path)
    path = tmp_path / "gamma-rev2.toml"
    path.write_text(text, encoding="utf-8")
    assert read_definition(path) == definition


def test_rev2_states_its_recipe(tmp_path: Path) -> None:
    definition = gamma("rev2", tmp_path)
    recipe = definition.recipe
    assert recipe.steps["gamma"].replace(" ", "") == (
        "beta7+1.0*(anxl3-anxl2)+0.25*(base8-beta7)"
    )
    assert recipe.steps["rev2"] == f"mbw(gamma, anxl3, '{MBW}')"
    assert (recipe.convention, recipe.copy_from, recipe.vae) == (
        "supermerger",
        "beta7",
        "merge",
    )
    assert folded_recipe(definition).ingredients == ("anxl2", "anxl3", "base8", "beta7")


def test_rev1_states_its_recipe(tmp_path: Path) -> None:
    definition = gamma("rev1", tmp_path)
    assert len({str(row) for row in folded_recipe(definition).rows.values()}) == 1
    assert folded_recipe(definition).decimal_rows()["BASE"] == {
        "anxl2": "-0.8",
        "anxl3": "0.8",
        "base7": "0.5",
        "beta7": "0.5",
    }


@pytest.mark.parametrize("revision", ["rev1", "rev2"])
def test_gamma_states_its_ingredients(tmp_path: Path, revision: str) -> None:
    stated = {
        name: (source.hub, source.licence)
        for name, source in gamma(revision, tmp_path).ingredients.items()
        if not name.startswith("base")
    }
    assert stated == {
        "beta7": ("KBlueLeaf/kohaku-xl-beta7", "creativeml-openrail-m"),
        "anxl3": ("cagliostrolab/animagine-xl-3.0", "faipl-1.0-sd"),
        "anxl2": ("Linaqruf/animagine-xl-2.0", "openrail++"),
    }


def test_base8_is_found_nowhere_and_base7_beside_the_release(tmp_path: Path) -> None:
    base8 = gamma("rev2", tmp_path).ingredients["base8"]
    base7 = gamma("rev1", tmp_path).ingredients["base7"]
    assert (base8.hub, base8.path, base8.licence) == (None, None, None)
    assert (base7.hub, base7.file) == (
        "KBlueLeaf/Kohaku-XL-gamma",
        "kohaku-xl-base7-lion-step00006000.safetensors",
    )


@pytest.mark.parametrize(
    ("revision", "ingredient", "facts"),
    [
        (
            "rev1",
            "base7",
            ("8e-6 and 2e-6", "warm-up", "128: 4 images, 16 acc", "2 GPU"),
        ),
        ("rev2", "base8", ("5e-6 and 1e-6", "warm-up", "1.48 million images")),
    ],
)
def test_training_facts_are_stated(
    tmp_path: Path, revision: str, ingredient: str, facts: tuple[str, ...]
) -> None:
    text = " ".join(gamma(revision, tmp_path).ingredients[ingredient].facts)
    assert [fact for fact in facts if fact not in text] == []


@pytest.mark.parametrize("revision", ["rev1", "rev2"])
def test_tags_keep_their_order_and_case(tmp_path: Path, revision: str) -> None:
    tables = gamma(revision, tmp_path).tag_tables
    assert {table.name: [row.tag for row in table.rows] for table in tables} == {
        "Rating": ["safe", "sensitive", "nsfw", "explicit, nsfw"],
        "Quality": [
            "Masterpiece",
            "best quality",
            "great quality",
            "good quality",
            "normal quality",
            "low quality",
            "worst quality",
        ],
        "Year": ["newest", "recent", "mid", "early", "old"],
    }


@pytest.mark.parametrize("revision", ["rev1", "rev2"])
def test_usage_and_licence_are_those_of_the_page(tmp_path: Path, revision: str) -> None:
    definition = gamma(revision, tmp_path)
    usage = definition.usage
    assert (usage.min_pixels, usage.max_pixels) == (786_432, 1_310_720)
    assert (usage.cfg_min, usage.cfg_max) == (4, 7)
    assert definition.licence.name == "faipl-1.0-sd"
    assert definition.licence.link == "https://freedevproject.org/faipl-1.0-sd/"
    assert definition.card.datasets == ("KBlueLeaf/danbooru2023-sqlite",)
    workarounds = " ".join(known.workaround for known in definition.known_issues)
    assert "R-ESRGAN anime6b" in workarounds
    assert "SCUNet" in workarounds


@pytest.mark.parametrize(
    ("revision", "variants", "archives", "day"),
    [
        ("rev1", ("fp16",), (), "2024-01-19"),
        ("rev2", ("fp16", "fp8"), ("fp8",), "2024-01-28"),
    ],
)
def test_gamma_is_published_where_and_as_what(
    tmp_path: Path,
    revision: str,
    variants: tuple[str, ...],
    archives: tuple[str, ...],
    day: str,
) -> None:
    release = gamma(revision, tmp_path).release
    assert (release.repo, release.tag) == ("KBlueLeaf/Kohaku-XL-gamma", revision)
    assert release.file_stem == f"kohaku-xl-gamma-{revision}"
    assert (release.variants, release.archives) == (variants, archives)
    assert release.date == day


def test_fp8_note_is_only_where_there_is_fp8(tmp_path: Path) -> None:
    note = gamma("rev2", tmp_path).usage.fp8_note or ""
    assert "safetensors 0.4.2" in note
    assert "unpack" in note
    assert gamma("rev1", tmp_path).usage.fp8_note is None


def test_bugged_file_is_known_bad(tmp_path: Path) -> None:
    (bad,) = gamma("rev1", tmp_path).known_bad
    assert bad.file == "kohaku-xl-gamma-rev1-bugged.safetensors"
    assert gamma("rev2", tmp_path).known_bad == (bad,)


def test_own_definition_wins_over_the_catalog(tmp_path: Path) -> None:
    write(tmp_path / "gamma-rev2.toml", changed("release", "name", to="gamma-rev2"))
    assert gamma("rev2", tmp_path).release.title == "Mine"


def test_own_definition_needs_the_name_of_its_file(tmp_path: Path) -> None:
    write(tmp_path / "other.toml", SMALLEST)
    with pytest.raises(RecipeError, match="got 'mine', expected 'other'") as caught:
        find_definition("other", tmp_path)
    assert caught.value.code == "definition-name"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("gama-rev2", "did you mean gamma-rev2? krelease releases lists them"),
        ("mime", "did you mean mine? krelease releases lists them"),
        ("../mine", "did you mean mine? krelease releases lists them"),
        ("", "krelease releases lists them"),
        ("nothing-like-it", "krelease releases lists them"),
        ("x\x1b[31m", "krelease releases lists them"),
        ("y" * 5000, "krelease releases lists them"),
    ],
)
def test_unknown_release_is_refused(tmp_path: Path, name: str, hint: str) -> None:
    folder = tmp_path / "definitions"
    folder.mkdir()
    write(tmp_path / "mine.toml", SMALLEST)
    write(folder / "mine.toml", SMALLEST)
    with pytest.raises(RecipeError) as caught:
        find_definition(name, folder)
    assert caught.value.code == "unknown-release"
    assert caught.value.hint == hint
    assert str(caught.value).isprintable()
