"""`krelease merge`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from release.cli.app import session
from release.cli.converting import (
    ClampOption,
    FailBelowOption,
    MinSnrOption,
    Order,
    RulesOption,
    Sha256Option,
    ShardOption,
    carry_out,
    conversion_options,
)
from release.cli.options import (
    DryRunOption,
    ForceOption,
    IngredientOption,
    JsonOption,
    QuietOption,
    ThreadsOption,
    UnverifiedOption,
    parse_named,
)
from release.errors import UsageError

if TYPE_CHECKING:
    from release.catalog.recipes import FoundRecipe
    from release.console import Console
    from release.gather import Gathered
    from release.recipe.rows import FoldedRecipe

_SUFFIX = ".safetensors"

ExpressionArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="EXPRESSION",
        help="Such as 'a + 0.25*(b - a)'; its names are ingredients.",
    ),
]
RecipeOption = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME_OR_FILE",
        help="A recipe file, or a release of the catalog, instead of EXPRESSION.",
    ),
]
ToOption = Annotated[
    list[str],
    typer.Option(
        "--to",
        metavar="PRESET",
        help="What `krelease presets` lists. Repeat it for several in one pass.",
    ),
]
OutOption = Annotated[
    Path,
    typer.Option("--out", metavar="FILE|DIR", help="A .safetensors file, or a folder."),
]
ConventionOption = Annotated[
    str | None,
    typer.Option(
        "--convention",
        metavar="NAME",
        help="Of block weights, for EXPRESSION: supermerger (if not given), sd-mecha,"
        " chattiori or sdnext.",
    ),
]
MissingOption = Annotated[
    str | None,
    typer.Option(
        "--missing",
        metavar="error|keep:NAME",
        help="For EXPRESSION: tensors that some ingredient lacks are an error (if not"
        " given), or those of NAME.",
    ),
]


def merge(
    expression: ExpressionArgument = None,
    recipe: RecipeOption = None,
    ingredient: IngredientOption = None,
    to: ToOption = ["fp16"],  # noqa: B006  # Typer copies it
    out: OutOption = Path(),
    convention: ConventionOption = None,
    missing: MissingOption = None,
    rules: RulesOption = None,
    shard: ShardOption = None,
    min_snr: MinSnrOption = None,
    fail_below: FailBelowOption = None,
    clamp: ClampOption = False,
    unverified: UnverifiedOption = False,
    sha256: Sha256Option = False,
    dry_run: DryRunOption = False,
    force: ForceOption = False,
    threads: ThreadsOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Merge checkpoints and LoRAs by an expression or a recipe.

    float64 sums with one rounding at the end, in one pass for all variants. What an
    expression can say: krelease recipe --help. Ingredients may be anything that
    `krelease convert` reads.

    Example: krelease merge "a + 0.5*(b - c)" -i a=A.safetensors -i b=B.safetensors
    -i c=C.safetensors --out merged.safetensors
    """
    with session(as_json=json, quiet=quiet) as console:
        from release.convert.source import SourceOptions
        from release.merge import mixture, open_ingredients
        from release.recipe.fold import fold
        from release.threads import choose_threads

        folder, stem = _place(out, n_variants=len(set(to)))
        options = conversion_options(
            to=to,
            rules=rules,
            shard=shard,
            clamp=clamp,
            sha256=sha256,
            unverified=unverified,
            min_snr=min_snr,
            fail_below=fail_below,
            file_stem=stem,
        )
        n_threads = choose_threads(threads)
        given = parse_named(ingredient)
        found = _recipe(expression, recipe, given, convention, missing)
        folded = fold(found.recipe)
        got = _gathered(found, folded, given, console, threads=n_threads)
        facts = {"recipe_sha256": folded.sha256()}
        order = Order("merge", found.name, folder, n_threads, dry_run, force, facts)
        with open_ingredients(folded, got.paths, SourceOptions()) as opened:
            from release.convert.plan import plan_outputs

            material = mixture(
                found.recipe,
                folded,
                opened,
                title=stem or found.name,
                digests=got.digests,
            )
            carry_out(console, plan_outputs(material, options), order)


def _place(out: Path, *, n_variants: int) -> tuple[Path, str]:
    """Return the folder of the results, and the name without suffix if one is given."""
    if out.suffix.lower() != _SUFFIX or out.is_dir():
        return out, ""
    if n_variants > 1:
        raise UsageError(
            f"--out {out.name}: one file for {n_variants} variants; expected a folder",
            code="merge-out",
            hint="name a folder, or one variant with --to",
        )
    return out.parent, out.stem


def _gathered(
    found: "FoundRecipe",
    folded: "FoldedRecipe",
    given: dict[str, str],
    console: "Console",
    *,
    threads: int,
) -> "Gathered":
    from release.gather import gather

    return gather(
        found.recipe,
        folded,
        given,
        base=found.folder,
        note=console.note,
        progress=console,
        threads=threads,
    )


def _recipe(
    expression: str | None,
    recipe: str | None,
    given: dict[str, str],
    convention: str | None,
    missing: str | None,
) -> "FoundRecipe":
    from release.catalog.recipes import FoundRecipe, find_recipe
    from release.recipe.conventions import DEFAULT_CONVENTION, find_convention
    from release.recipe.text import MISSING_ERROR, Origin, recipe_of_expression

    if (expression is None) == (recipe is None):
        raise UsageError(
            "expected an EXPRESSION or --recipe, and not both",
            code="merge-recipe",
            hint="for example krelease merge 'a + 0.5*(b - a)' -i a=... -i b=...",
        )
    if recipe is not None:
        if convention or missing:
            raise UsageError(
                "--convention and --missing are for an EXPRESSION, not for --recipe",
                code="merge-recipe",
                hint="change the recipe file",
            )
        return find_recipe(recipe, Path())
    chosen = find_convention(convention or DEFAULT_CONVENTION, label="--convention")
    text = recipe_of_expression(
        expression or "",
        {name: Origin() for name in given},
        convention=chosen.name,
        missing=missing or MISSING_ERROR,
    )
    return FoundRecipe(text, "merge", Path())
