"""`krelease merge`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from release.cli.app import session
from release.cli.convert import (
    ClampOption,
    FailBelowOption,
    MinSnrOption,
    RulesOption,
    Sha256Option,
    ShardOption,
    decibels,
    say,
    say_kept,
    shard_nbytes,
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
        from release.cli.converted import (
            loss_warnings,
            plan_document,
            plan_text,
            result_document,
            result_text,
            written_paths,
        )
        from release.convert.options import ConvertOptions
        from release.convert.source import SourceOptions
        from release.gather import gather
        from release.merge import mixture, open_ingredients
        from release.recipe.fold import fold
        from release.threads import choose_threads
        from release.variants.parse import read_rules
        from release.variants.preset import find_preset

        names = tuple(dict.fromkeys(to))
        folder, stem = _place(out, n_variants=len(names))
        options = ConvertOptions(
            presets=tuple(find_preset(name) for name in names),
            rules=None if rules is None else read_rules(rules),
            shard_nbytes=None if shard is None else shard_nbytes(shard),
            clamps=clamp,
            identifies=sha256,
            trusts=unverified,
            min_snr=decibels("--min-snr", min_snr),
            fail_below=decibels("--fail-below", fail_below),
            file_stem=stem,
        )
        n_threads = choose_threads(threads)
        given = parse_named(ingredient)
        found = _recipe(expression, recipe, given, convention, missing)
        folded = fold(found.recipe)
        gathered = gather(
            found.recipe,
            folded,
            given,
            base=found.folder,
            note=console.note,
            progress=console,
            threads=n_threads,
        )
        with open_ingredients(folded, gathered.paths, SourceOptions()) as opened:
            from release.convert.plan import plan_outputs
            from release.convert.run import convert, refine

            material = mixture(
                found.recipe,
                folded,
                opened,
                title=stem or found.name,
                digests=gathered.digests,
            )
            plan = plan_outputs(material, options)
            say(console, plan)
            plan = refine(plan, threads=n_threads, progress=console)
            say_kept(console, plan)
            paths = written_paths(plan, folder)
            if dry_run:
                console.result(
                    "krelease.merge-plan/1",
                    {"recipe_sha256": folded.sha256(), **plan_document(plan, folder)},
                    plan_text(plan, folder),
                    brief=paths,
                )
                return
            done = convert(
                plan, folder, threads=n_threads, progress=console, overwrite=force
            )
            for line in loss_warnings(done):
                console.warn(line)
            console.result(
                "krelease.merge/1",
                {
                    "recipe_sha256": folded.sha256(),
                    **result_document(plan, done, folder, source=found.name),
                },
                result_text(done, folder),
                brief=paths,
            )


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


def _recipe(
    expression: str | None,
    recipe: str | None,
    given: dict[str, str],
    convention: str | None,
    missing: str | None,
) -> "FoundRecipe":
    from release.catalog.recipes import FoundRecipe, find_recipe
    from release.recipe.conventions import DEFAULT_CONVENTION
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
    text = recipe_of_expression(
        expression or "",
        {name: Origin() for name in given},
        convention=convention or DEFAULT_CONVENTION,
        missing=missing or MISSING_ERROR,
    )
    return FoundRecipe(text, "merge", Path())
