"""The release definition: what a maker states about a release, as validated data.

A definition is a TOML file. It holds what cannot be measured: the recipe, where the
ingredients come from, the licence, the guidance for users. Everything measurable is in
the manifest (`release.manifest`) instead.
"""

from typing import Annotated, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from release.errors import UsageError, visible
from release.recipe.fold import fold
from release.recipe.patterns import MEANINGS, Line, Name, Sha256Hex
from release.recipe.rows import FoldedRecipe
from release.recipe.text import (
    MERGED_VAE,
    MISSING_ERROR,
    KeyPaths,
    Origin,
    RecipeText,
)

RELEASE_NAME: Final = r"^[a-z0-9][a-z0-9.-]{0,63}$"
_FILE_STEM: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
HUB_ID: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9][A-Za-z0-9_.-]{0,95}$"
_DATE: Final = r"^\d{4}-\d{2}-\d{2}$"
_AUTOV2: Final = r"^[0-9A-F]{10}$"

PATTERN_MEANINGS: Final = {
    **MEANINGS,
    RELEASE_NAME: "up to 64 lower case letters, digits, dots and hyphens",
    _FILE_STEM: "up to 128 letters, digits, dots, hyphens and underscores",
    HUB_ID: "a Hub repository as owner/name",
    _DATE: "a date as YYYY-MM-DD",
    _AUTOV2: "10 upper case hex digits",
}
"""Every pattern of a definition's texts, in words."""

ReleaseName = Annotated[str, StringConstraints(pattern=RELEASE_NAME)]
FileStem = Annotated[str, StringConstraints(pattern=_FILE_STEM)]
HubId = Annotated[str, StringConstraints(pattern=HUB_ID)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Identity(_Table):
    """Table `[release]`: names and addresses.

    `tag` is the git tag on the Hub; `file_stem` is what every checkpoint file name
    starts with.
    """

    name: ReleaseName
    title: Line
    summary: Line
    author: Line
    file_stem: FileStem
    tag: FileStem
    repo: HubId
    architecture: Literal["sdxl"]
    variants: Annotated[tuple[str, ...], Field(min_length=1)]
    archives: tuple[str, ...] = ()
    """Variants that are also published as a zip with the licence text inside."""
    date: Annotated[str, StringConstraints(pattern=_DATE)] | None = None
    previous: ReleaseName | None = None
    """The release before this one, which the changelog compares it with."""


class Recipe(_Table):
    """Table `[recipe]`: the merge, as named steps of one expression each.

    `output` names the step (or ingredient) that is the result. `copy_from` names the
    ingredient that integer buffers, markers and schedule buffers are copied from; `vae`
    is "merge" or the ingredient whose VAE is copied. `missing` is "error", or "keep:"
    and the ingredient that tensors are taken from which another lacks.
    """

    steps: dict[Name, Line] = {}
    output: Name
    convention: str
    copy_from: Name
    vae: str = MERGED_VAE
    missing: str = MISSING_ERROR


class IngredientSource(_Table):
    """Table `[ingredients.NAME]`: what an ingredient is and where it is found."""

    title: Line
    path: str | None = None
    hub: HubId | None = None
    revision: Line = "main"
    file: Line | None = None
    sha256: Sha256Hex | None = None
    licence: Line | None = None
    licence_reason: Line | None = None
    """Why the release may be made although the licence above is unknown, or forbids it.

    It stands in the card; the ingredient then has no say in the release's licence.
    """
    licence_file: Line | None = None
    """Path of the licence's text, from the definition's folder; else the Hub's."""
    facts: tuple[Line, ...] = ()


class Licence(_Table):
    """Table `[licence]`: the licence of the release.

    `name` is one that `release.licences.known` knows, and `file` the path of its text,
    from the definition's folder; without it the text that krelease has is taken.
    """

    name: Line
    link: Line
    file: Line | None = None
    notices: tuple[Line, ...] = ()


class TagRow(_Table):
    """One row of a tag table: `tag` exactly as the model was trained to read it.

    `other` is what means the same in the other vocabulary of the table.
    """

    meaning: Line
    tag: Line
    other: Line | None = None


class TagTable(_Table):
    """Table `[[tag_tables]]`: one vocabulary, in the order the maker gives.

    `vocabulary` says whose tags they are, `other` whose the tags beside them.
    """

    name: Line
    order: Line
    vocabulary: Line | None = None
    other: Line | None = None
    note: Line | None = None
    rows: Annotated[tuple[TagRow, ...], Field(min_length=1)]


class Usage(_Table):
    """Table `[usage]`: how images are made with the release."""

    min_pixels: Annotated[int, Field(gt=0)]
    max_pixels: Annotated[int, Field(gt=0)]
    training_resolution: Line
    cfg_min: Annotated[float, Field(gt=0)]
    cfg_max: Annotated[float, Field(gt=0)]
    sampler: Line
    prompt_format: Line
    example_prompt: Line
    example_negative_prompt: Line = ""
    fp8_note: Line | None = None
    notes: tuple[Line, ...] = ()


class Civitai(_Table):
    """Table `[civitai]`: what that site's form asks for and nothing here measures."""

    base_model: Line = "SDXL 1.0"
    model_id: Annotated[int, Field(gt=0)] | None = None
    trained_words: tuple[Line, ...] = ()
    steps: Annotated[int, Field(gt=0)] | None = None
    epochs: Annotated[int, Field(gt=0)] | None = None
    clip_skip: Annotated[int, Field(ge=1, le=12)] | None = None


class Sample(_Table):
    """Table `[[samples]]`: an image made with the release, and how it was made.

    `image` is a PNG, JPEG or WebP, by its path from the definition's folder. `width`
    and `height` are those asked for, in pixels, before any upscaling.
    """

    image: Line
    prompt: Line
    negative_prompt: Line = ""
    width: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]
    cfg: Annotated[float, Field(gt=0)] | None = None
    steps: Annotated[int, Field(gt=0)] | None = None
    seed: Annotated[int, Field(ge=0)] | None = None


class KnownIssue(_Table):
    """Table `[[known_issues]]`: a defect and what to do about it."""

    issue: Line
    workaround: Line


class KnownBadFile(_Table):
    """Table `[[known_bad]]`: a published file that must not be used."""

    file: Line
    reason: Line
    sha256: Sha256Hex | None = None


class KnownFile(_Table):
    """Table `[[known_files]]`: a published file, by the digests its place states.

    `source` is where they are stated. `variant` is None where that does not say which
    of the release's files is meant.
    """

    source: Line
    autov2: Annotated[str, StringConstraints(pattern=_AUTOV2)]
    sha256: Sha256Hex | None = None
    variant: Line | None = None


class CardFacts(_Table):
    """Table `[card]`: what the Hub shows and searches by."""

    language: tuple[Line, ...] = ("en",)
    datasets: tuple[HubId, ...] = ()
    tags: tuple[Line, ...] = ()
    introduction: tuple[Line, ...] = ()
    why: tuple[Line, ...] = ()
    """Why the merge was made this way; one paragraph each."""
    not_for_all_audiences: bool = False


class Definition(_Table):
    """A whole definition file, schema 1."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    kind: Literal["release"] = "release"
    release: Identity
    recipe: Recipe
    ingredients: Annotated[dict[Name, IngredientSource], Field(min_length=1)]
    licence: Licence
    usage: Usage
    tag_tables: tuple[TagTable, ...] = ()
    samples: tuple[Sample, ...] = ()
    known_issues: tuple[KnownIssue, ...] = ()
    known_bad: tuple[KnownBadFile, ...] = ()
    known_files: tuple[KnownFile, ...] = ()
    card: CardFacts = CardFacts()
    civitai: Civitai = Civitai()


def with_repo(definition: Definition, repo: str) -> Definition:
    """Return the definition with another Hub repository.

    Raises:
        UsageError: `repo` is not of the form OWNER/NAME.
    """
    try:
        TypeAdapter(HubId).validate_python(repo)
    except ValidationError as error:
        raise UsageError(
            f"--repo {visible(repo)}: expected OWNER/NAME",
            code="repo-id",
            hint="for example --repo KBlueLeaf/Kohaku-XL-gamma",
        ) from error
    release = definition.release.model_copy(update={"repo": repo})
    return definition.model_copy(update={"release": release})


def recipe_text(definition: Definition) -> RecipeText:
    """Return the definition's recipe in the shape that all recipes have."""
    recipe = definition.recipe
    return RecipeText(
        recipe.steps,
        recipe.output,
        {name: _origin(source) for name, source in definition.ingredients.items()},
        convention=recipe.convention,
        copy_from=recipe.copy_from,
        vae=recipe.vae,
        missing=recipe.missing,
        keys=KeyPaths(steps="recipe.steps", output="recipe.output"),
    )


def folded_recipe(definition: Definition) -> FoldedRecipe:
    """Return the definition's recipe as rows of coefficients.

    Raises:
        RecipeError: As `release.recipe.fold.fold`.
    """
    return fold(recipe_text(definition))


def _origin(source: IngredientSource) -> Origin:
    return Origin(
        title=source.title,
        file=source.path,
        hub=source.hub,
        revision=source.revision,
        hub_file=source.file,
        sha256=source.sha256,
    )
