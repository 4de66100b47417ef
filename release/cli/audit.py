"""`krelease audit`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from release.cli.app import session
from release.cli.options import (
    IngredientOption,
    JsonOption,
    QuietOption,
    ThreadsOption,
    parse_named,
)
from release.errors import UsageError

if TYPE_CHECKING:
    from release.audit.question import Question
    from release.cli.audit_recipe import Asked

FileArgument = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="The checkpoint; anything that convert reads, fp8 too."
    ),
]
RecipeOption = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="FILE|EXPRESSION",
        help="A recipe file of ours or another program's, or an expression over the"
        " ingredients. If not given: what the checkpoint's header declares.",
    ),
]
ReleaseOption = Annotated[
    str | None,
    typer.Option(
        "--release",
        metavar="NAME",
        help="A release of the catalog, or NAME of a NAME.toml in this folder.",
    ),
]
ConventionOption = Annotated[
    str | None,
    typer.Option(
        "--convention",
        metavar="NAME",
        help="Of block weights, for an EXPRESSION: supermerger (if not given),"
        " sd-mecha, chattiori or sdnext.",
    ),
]
FitOption = Annotated[
    bool,
    typer.Option("--fit", help="No recipe: find the coefficients of the ingredients."),
]
SampleOption = Annotated[
    bool,
    typer.Option(
        "--sample",
        help="Decide from about a thousandth of the values, in seconds; declared"
        " digests of ingredients are not checked.",
    ),
]


def audit(
    file: FileArgument,
    ingredient: IngredientOption = None,
    recipe: RecipeOption = None,
    release: ReleaseOption = None,
    convention: ConventionOption = None,
    fit: FitOption = False,
    sample: SampleOption = False,
    threads: ThreadsOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say whether a checkpoint follows its recipe, or what was done.

    Every value is computed again from the ingredients and compared; with --sample, some
    of each tensor. What differs is explained, where it can be: other coefficients,
    another block-weight convention, tensors that were not merged or are another
    model's, roundings on the way. Ingredients that are missing make a partial audit.
    Exit code 0 if the recipe was followed, else 6. With --quiet, only the verdict is
    printed, one word.

    Example: krelease audit rev2.safetensors --release gamma-rev2 --sample
    -i beta7=beta7.safetensors -i base8=base8.safetensors -i anxl2=anxl2.safetensors
    -i anxl3=anxl3.safetensors
    """
    with session(as_json=json, quiet=quiet) as console:
        from release.audit.audit import AuditOptions
        from release.audit.audit import audit as run
        from release.audit.recipes import claimed_ingredients
        from release.audit.report import raise_if_different
        from release.cli.audit_recipe import ask, ingredient_paths
        from release.cli.audited import report_text
        from release.convert.source import SourceOptions, open_source
        from release.engine.plan import Ingredient
        from release.merge import open_ingredients
        from release.threads import choose_threads

        _check(recipe, release, convention, fit=fit)
        given = parse_named(ingredient)
        n_threads = choose_threads(threads)
        with open_source(file, SourceOptions()) as source:
            asked = ask(
                source.checkpoint,
                given,
                _named(recipe, release, fit=fit),
                convention=convention,
            )
            paths = ingredient_paths(
                asked, given, console=console, checks=not sample, threads=n_threads
            )
            question = asked.question(paths)
            for line in _warnings(asked, question):
                console.warn(line)
            subject = Ingredient(source.stem, source.checkpoint, source.layout)
            claimed = claimed_ingredients(source.checkpoint.metadata)
            options = AuditOptions(sample=sample, threads=n_threads, claimed=claimed)
            with open_ingredients(asked.recipe, paths, SourceOptions()) as opened:
                report = run(
                    subject, question, opened.ingredients, options, progress=console
                )
        console.result(
            "krelease.audit/1",
            report.document(),
            report_text(report),
            brief=[report.verdict.code],
        )
        raise_if_different(report)


def _check(
    recipe: str | None, release: str | None, convention: str | None, *, fit: bool
) -> None:
    if sum((recipe is not None, release is not None, fit)) > 1:
        raise UsageError(
            "--recipe, --release and --fit: got several, expected one",
            code="audit-recipe",
            hint="leave all of them out for the recipe in the file's header",
        )
    if convention and recipe is None:
        raise UsageError(
            "--convention is for an EXPRESSION given by --recipe",
            code="audit-recipe",
            hint="recipe files, releases and headers name their own",
        )


def _named(recipe: str | None, release: str | None, *, fit: bool) -> tuple[str, str]:
    """Return which kind of recipe was named, and its name."""
    if fit:
        return "fit", ""
    if release is not None:
        return "release", release
    return ("recipe", recipe) if recipe is not None else ("header", "")


def _warnings(asked: "Asked", question: "Question") -> list[str]:
    found = [] if question.recipe is None else list(question.recipe.warnings)
    if question.missing:
        names = ", ".join(question.missing)
        found.append(f"not at hand: {names}; the audit can only be partial")
    return [*asked.warnings, *found]
