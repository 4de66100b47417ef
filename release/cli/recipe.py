"""`krelease recipe`: what a recipe does, and whether it can be followed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from release.cli.app import session
from release.cli.options import (
    IngredientOption,
    JsonOption,
    QuietOption,
    parse_ingredients,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from fractions import Fraction

    from release.catalog.recipes import FoundRecipe
    from release.recipe.explain import Explanation
    from release.recipe.rows import FoldedRecipe
    from release.recipe.text import RecipeText

_HELP: Final = """Explain, check and import recipes.

A recipe is a release, or a file of its own:

\b
[recipe]
schema = 1
convention = "supermerger"  # or sd-mecha, chattiori, sdnext
copy_from = "a"             # position ids and other copied tensors
vae = "merge"               # or an ingredient
missing = "error"           # or "keep:INGREDIENT"
[ingredients]
a = { file = "a.safetensors", sha256 = "...", hub = "OWNER/REPO@REV/FILE" }
b = { file = "b.safetensors" }
[steps]
mixed = "a + 0.5 * (b - a)"
[output]
from = "mixed"

An expression has numbers, names, + - * ( ), and lerp(a, b, t), mbw(a, b, '20
weights') or mbw(a, b, '0, OUT03=0.05, vae=1'), only(a, unet, OUT03), lora(name),
slerp(a, b, t), add_cosine(a, b, alpha), dare(base, other, density, seed),
ties(base, other, ..., density=NUMBER).

Example: krelease recipe explain gamma-rev2
"""

app = typer.Typer(
    name="recipe",
    help=_HELP,
    rich_markup_mode=None,
    no_args_is_help=True,
)
"""The group; further commands are added to it where they are defined."""

RecipeArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME_OR_FILE",
        help="A release of the catalog, or a TOML file: a recipe or a definition.",
    ),
]


@app.command()
def explain(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME_OR_FILE",
            help="A release of the catalog, or a TOML file: a recipe or a definition.",
        ),
    ] = None,
    expression: Annotated[
        str | None,
        typer.Option(
            "--expression",
            "-e",
            metavar="TEXT",
            help="An expression, instead of NAME_OR_FILE; its names are ingredients.",
        ),
    ] = None,
    convention: Annotated[
        str | None,
        typer.Option(
            "--convention",
            metavar="NAME",
            help="Of block weights, for --expression.  [default: supermerger]",
        ),
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show every coefficient in every block, and all defaults.

    Example: krelease recipe explain gamma-rev2
    """
    with session(as_json=json, quiet=quiet) as console:
        from release.recipe.explain import explain as run

        found = _found(name, expression, convention)
        explained = run(found)
        for warning in explained.folded.warnings:
            console.warn(warning)
        console.result(
            "krelease.recipe-explain/1",
            explained.document(),
            _text(explained),
            brief=[explained.folded.sha256()],
        )


@app.command()
def check(
    name: RecipeArgument,
    ingredient: IngredientOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check a recipe without reading weights.

    Names, algebra and block weights are checked, and the headers of the ingredients
    that are at hand, by --ingredient or by a path in the recipe: architecture, tensors
    and shapes.

    Example: krelease recipe check recipe.toml
    """
    with session(as_json=json, quiet=quiet) as console:
        from release.catalog.recipes import find_recipe
        from release.merge import check_headers
        from release.recipe.fold import fold

        found = find_recipe(name, Path())
        folded = fold(found.recipe)
        paths = _paths(found, folded, parse_ingredients(ingredient))
        check_headers(folded, paths)
        for warning in folded.warnings:
            console.warn(warning)
        states = {each: _state(each, folded, paths) for each in folded.needed}
        console.result(
            "krelease.recipe-check/1",
            {
                "recipe": found.name,
                "sha256": folded.sha256(),
                "ingredients": states,
                "warnings": list(folded.warnings),
            },
            _check_text(found, folded, states),
            brief=[folded.sha256()],
        )


def _found(
    name: str | None, expression: str | None, convention: str | None
) -> "RecipeText":
    from release.catalog.recipes import find_recipe
    from release.errors import UsageError
    from release.recipe.conventions import DEFAULT_CONVENTION
    from release.recipe.graph import names_in
    from release.recipe.text import Origin, recipe_of_expression

    if (name is None) == (expression is None):
        raise UsageError(
            "name a recipe, or give one with --expression: one of the two",
            code="which-recipe",
            hint="krelease releases lists the catalog",
        )
    if expression is not None:
        return recipe_of_expression(
            expression,
            {each: Origin() for each in names_in(expression)},
            convention=convention or DEFAULT_CONVENTION,
        )
    if convention is not None:
        raise UsageError(
            "--convention: expected with --expression only",
            code="which-recipe",
            hint="a recipe states its own convention",
        )
    return find_recipe(name or "", Path()).recipe


def _paths(
    found: "FoundRecipe", folded: "FoldedRecipe", given: "Mapping[str, Path]"
) -> dict[str, Path]:
    """Return the files of the ingredients that are at hand."""
    from release.errors import UsageError, visible
    from release.recipe.names import suggestion

    ingredients = found.recipe.ingredients
    for name in given:
        if name not in ingredients:
            raise UsageError(
                f"--ingredient {visible(name)}: the recipe has no such ingredient",
                code="unknown-ingredient",
                hint=suggestion(name, ingredients),
            )
    paths = dict(given)
    for name in folded.needed:
        file = ingredients[name].file
        if name not in paths and file is not None:
            path = found.folder / file
            if path.is_file():
                paths[name] = path
    return {name: path for name, path in paths.items() if name in folded.needed}


def _state(name: str, folded: "FoldedRecipe", paths: "Mapping[str, Path]") -> str:
    if name not in paths:
        return "not at hand"
    return "at hand" if name in folded.loras else "header checked"


def _check_text(
    found: "FoundRecipe", folded: "FoldedRecipe", states: "Mapping[str, str]"
) -> list[str]:
    from release.console import columns
    from release.errors import visible

    rows = [[f"  {name}", state] for name, state in states.items()]
    return [
        f"{visible(found.name, 1024)}: the recipe can be followed",
        *columns(rows),
        f"identity {folded.sha256()}",
    ]


def _text(explained: "Explanation") -> list[str]:
    from release.console import columns
    from release.errors import visible

    recipe = explained.recipe
    lines = [f"{name} = {visible(text, 2000)}" for name, text in recipe.steps.items()]
    if len(recipe.steps) != 1:
        lines.append(f"output: {recipe.output}")
    for each in explained.block_lists:
        lines += ["", f"block weights in {each.step}", *_weights(each.weights)]
    for title, table in explained.tables():
        numbers = range(1, len(table[0]))
        lines += ["", f"coefficients of {title}", *columns(table, right=numbers)]
    rules = [[f"  {key}", sentence] for key, sentence in explained.rules]
    identity = ["  identity", explained.folded.sha256()]
    return [*lines, "", "rules", *columns([*rules, identity])]


def _weights(weights: "Mapping[str, Fraction]") -> list[str]:
    """Return weights by name, a few to a line."""
    from release.recipe.decimals import decimal_text

    named = [f"{name}={decimal_text(value)}" for name, value in weights.items()]
    return ["  " + " ".join(named[at : at + 7]) for at in range(0, len(named), 7)]
