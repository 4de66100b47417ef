"""The first text of a definition: what is known filled in, what is not as comments."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from release.catalog.carried_recipe import CarriedRecipe, carried_recipe
from release.catalog.outline import Known, Outline
from release.catalog.read import parse_definition
from release.errors import RecipeError
from release.formats.toml_write import toml_comment, toml_pair
from release.metadata import STAND_IN_KEY
from release.recipe.conventions import CONVENTIONS, DEFAULT_CONVENTION
from release.recipe.imports.imported import IngredientNames
from release.recipe.text import MERGED_VAE
from release.variants.preset import PRESET_NAMES

_VARIANTS: Final = {"F32": "fp32", "BF16": "bf16", "F16": "fp16"}
_USUAL_VARIANT: Final = "fp16"
_USUAL: Final[Mapping[str, object]] = {
    "min_pixels": 786_432,
    "max_pixels": 1_310_720,
    "training_resolution": "1024x1024",
    "cfg_min": 4,
    "cfg_max": 8,
    "sampler": "any",
    "prompt_format": "tags, separated by commas",
}
"""What is usual for SDXL models; a maker knows better."""
_RESOLUTION_KEY: Final = "modelspec.resolution"
_WIDTH: Final = 88


@dataclass(frozen=True, slots=True)
class Draft:
    """A definition to fill in.

    Attributes:
        text: TOML.
        missing: Key paths that have to be filled in before it is valid.
        usual: Key paths whose values are only what is usual for SDXL.
        notes: What else to know, one line each.
    """

    text: str
    missing: tuple[str, ...]
    usual: tuple[str, ...]
    notes: tuple[str, ...]


def draft(
    name: str, known: Known, *, outline: Outline | None, schema_path: str
) -> Draft:
    """Return the first text of a definition; without `missing` keys it is valid.

    Args:
        name: Of the release.
        known: What is known of it besides its weights.
        outline: A checkpoint that it is made of, or that tells its recipe.
        schema_path: What the file calls its JSON Schema, for editors.

    Raises:
        RecipeError: What was put together is not valid after all.
    """
    page = _Page()
    page.say(
        f"#:schema {schema_path}",
        "# A release definition: krelease publish takes it from here.",
        "# krelease releases gamma-rev2 shows a complete one.",
    )
    page.value("schema", 1)
    _release(page, name, known, outline)
    _recipe(page, known, outline)
    page.table("licence", "What the release itself is under.")
    page.value("name", known.licence, example="faipl-1.0-sd")
    page.value("link", known.licence_link, example="https://freedevproject.org/")
    _usage(page, known, outline)
    _card(page, known)
    text = "\n".join([*page.lines, ""])
    if not page.missing:
        parse_definition(text, origin=f"{name}.toml")
    return Draft(text, tuple(page.missing), tuple(page.usual), tuple(page.notes))


@dataclass(slots=True)
class _Page:
    """Collects the lines, and what is missing in them."""

    lines: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    usual: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    path: str = ""

    def say(self, *lines: str) -> None:
        self.lines += lines

    def table(self, path: str, remark: str = "") -> None:
        self.lines += ["", *([toml_comment(remark)] if remark else []), f"[{path}]"]
        self.path = path

    def value(self, key: str, value: object, *, example: object = "") -> None:
        """Write a pair; without a value, the example as a comment to be filled in."""
        if value:
            self.lines += toml_pair(key, value)
            return
        self.missing.append(f"{self.path}.{key}")
        (line,) = toml_pair(key, example)
        self.lines += ["# To fill in, for example:", f"# {line}"]

    def offer(self, key: str, example: object) -> None:
        """Write a pair that may be left out as a comment."""
        self.lines += [f"# {line}" for line in toml_pair(key, example)]


def _release(page: _Page, name: str, known: Known, outline: Outline | None) -> None:
    code = outline.main_dtype if outline else ""
    variant = _VARIANTS.get(code, _USUAL_VARIANT)
    if code.startswith("F8_"):
        page.notes.append(
            f"the weights are {code}: name the file that they were made from, if you "
            "have it, for no precision comes back"
        )
    if outline and STAND_IN_KEY in outline.metadata:
        page.notes.append("the checkpoint is a stand-in: random values, not a model")
    page.table("release", "Names and addresses.")
    page.value("name", name)
    page.value("title", known.title, example="Kohaku-XL gamma rev2")
    page.value("summary", known.summary, example="An SDXL anime base model.")
    page.value("author", known.author, example="KohakuBlueleaf")
    page.value("file_stem", name)
    page.say("# The git tag on the Hub.")
    page.value("tag", name)
    page.value("repo", known.repo, example="KBlueLeaf/Kohaku-XL-gamma")
    page.value("architecture", "sdxl")
    page.say(f"# Any of {', '.join(PRESET_NAMES)}.")
    page.value("variants", [variant])
    page.say("# Variants that are also published as a zip with the licence inside.")
    page.offer("archives", [variant])
    page.offer("date", "2024-01-28")


def _recipe(page: _Page, known: Known, outline: Outline | None) -> None:
    carried = None
    if outline is not None:
        try:
            carried = carried_recipe(outline.metadata)
        except RecipeError as error:
            page.notes.append(f"the recipe in the header is not taken over: {error}")
    if carried is not None:
        _carried(page, carried)
    elif outline is not None:
        _single(page, known, outline)
    else:
        _no_recipe(page)


def _carried(page: _Page, carried: CarriedRecipe) -> None:
    page.table("recipe", f"From the header, written by {carried.source}.")
    for note in carried.notes:
        page.say(toml_comment(note))
    page.notes += carried.notes
    for key, value in carried.recipe.items():
        page.value(key, value)
    page.table("recipe.steps")
    for step, expression in carried.steps.items():
        page.value(step, expression)
    for name, table in carried.ingredients.items():
        page.table(f"ingredients.{name}")
        for key, value in table.items():
            page.value(key, value)
        if "hub" not in table:
            page.say("# Where it is found: here, or on the Hub.")
            page.offer("path", f"{name}.safetensors")
        page.offer("licence", "openrail++")
    page.notes.append(
        "the licences of the ingredients are not known: krelease licence asks for them"
    )


def _single(page: _Page, known: Known, outline: Outline) -> None:
    """Write the recipe that takes one checkpoint as it is."""
    place = outline.place
    name = IngredientNames().add(place.name, place.name)
    page.table("recipe", "No merge: the checkpoint as it is. A merge has steps:")
    page.offer("steps", {"half": "0.5 * a + 0.5 * b"})
    page.value("output", name)
    page.value("convention", DEFAULT_CONVENTION)
    page.value("copy_from", name)
    page.table(f"ingredients.{name}")
    page.value("title", known.title or outline.text("modelspec.title") or name)
    pairs = {
        "path": place.path,
        "hub": place.hub,
        "revision": place.revision,
        "file": place.file,
        "sha256": place.sha256,
        "licence": known.licence,
    }
    for key, value in pairs.items():
        if value:
            page.value(key, value)
    if not known.licence:
        page.offer("licence", "openrail++")
    if place.hub and not place.sha256:
        page.notes.append("the Hub states no SHA-256 of the file")


def _no_recipe(page: _Page) -> None:
    page.table("recipe", "The merge, as steps of one expression each.")
    page.value("output", "", example="half")
    page.say(f"# How block weights are read: {', '.join(sorted(CONVENTIONS))}.")
    page.value("convention", DEFAULT_CONVENTION)
    page.say("# The ingredient that integer buffers and markers are copied from.")
    page.value("copy_from", "", example="a")
    page.offer("vae", MERGED_VAE)
    page.say("", "# [recipe.steps]", '# half = "0.5 * a + 0.5 * b"')
    for name in ("a", "b"):
        page.say("", f"# [ingredients.{name}]", f'# title = "Model {name.upper()}"')
        page.say(f'# path = "{name}.safetensors"', '# licence = "openrail++"')
    page.missing.append("ingredients")


def _usage(page: _Page, known: Known, outline: Outline | None) -> None:
    page.table("usage", "Usual for SDXL models, and no more than that: put yours here.")
    usual = dict(_USUAL)
    resolution = outline.text(_RESOLUTION_KEY) if outline else ""
    if resolution:
        usual["training_resolution"] = resolution
    for key, value in usual.items():
        page.value(key, value)
    page.usual += [
        f"usage.{key}"
        for key in usual
        if key != "training_resolution" or not resolution
    ]
    page.value("example_prompt", known.prompt, example="1girl, solo, looking at viewer")
    if known.negative_prompt:
        page.value("example_negative_prompt", known.negative_prompt)
    else:
        page.offer("example_negative_prompt", "low quality, worst quality")


def _card(page: _Page, known: Known) -> None:
    page.table("card", "What the Hub shows and searches by.")
    lists: dict[str, Sequence[str]] = {
        "language": known.language or ("en",),
        "datasets": known.datasets,
        "tags": known.tags,
    }
    for key, values in lists.items():
        if values:
            page.value(key, [*values])
    page.say(*_audience(known))
    page.say(
        "",
        "# Tables that may follow, as krelease releases gamma-rev2 has them:",
        "# [[tag_tables]], [[samples]], [[known_issues]], [[known_bad]]",
    )


def _audience(known: Known) -> Iterator[str]:
    yield "# Whether the Hub is to ask before it shows the page."
    value = str(known.not_for_all_audiences).lower()
    yield f"not_for_all_audiences = {value}"
