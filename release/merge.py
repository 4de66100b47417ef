"""Merge: a recipe on its own, to every variant, without a release around it."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from release.architecture.contents import Contents, contents_of, part_of
from release.architecture.lora import open_lora
from release.architecture.modelspec import MODELSPEC, modelspec_of
from release.convert.material import Material
from release.convert.source import Source, SourceOptions, open_source
from release.engine.plan import Ingredient
from release.errors import TensorMismatchError, visible
from release.formats.lora.checkpoint import LoraCheckpoint
from release.formats.open import open_checkpoint
from release.manifest import RecipeRecord
from release.metadata import (
    RECIPE_KEY,
    RECIPE_SHA256_KEY,
    STAND_IN_KEY,
    STAND_IN_TEXT,
)
from release.mixture import (
    check_ingredients,
    left_out,
    result_tensors,
    tensor_sources,
)
from release.recipe.imports.provenance import Parent, webui_metadata
from release.recipe.rows import FoldedRecipe
from release.recipe.text import RecipeText

_STEP_SEPARATOR: Final = "; "


@dataclass(frozen=True, slots=True)
class Opened:
    """The open ingredients of a recipe.

    Attributes:
        models: Ingredient name -> checkpoint.
        loras: Ingredient name -> the changes that a LoRA makes.
    """

    models: Mapping[str, Source]
    loras: Mapping[str, LoraCheckpoint]

    @property
    def ingredients(self) -> dict[str, Ingredient]:
        """All of them as the engine reads them."""
        models = {
            name: Ingredient(name, source.checkpoint, source.layout)
            for name, source in self.models.items()
        }
        return models | {
            name: Ingredient(name, lora) for name, lora in self.loras.items()
        }


@contextmanager
def open_ingredients(
    recipe: FoldedRecipe, paths: Mapping[str, Path], options: SourceOptions
) -> Iterator[Opened]:
    """Open what a recipe needs; closed at the end.

    Args:
        recipe: The recipe.
        paths: Ingredient name -> its file. Those without one are left out, and so are
            LoRAs if there is no model.
        options: How models are read.

    Raises:
        CheckpointError: One cannot be read as what it claims to be.
        TensorMismatchError: A LoRA changes tensors that the base does not have, or one
            that is used as a LoRA is a model, or the other way round.
    """
    with ExitStack() as stack:
        models = {
            name: stack.enter_context(_open_model(name, paths[name], options))
            for name in recipe.needed
            if name in paths and name not in recipe.loras
        }
        base = models.get(recipe.copy_from) or next(iter(models.values()), None)
        loras = {
            name: stack.enter_context(_open_lora(name, paths[name], base))
            for name in recipe.loras
            if name in paths and base is not None
        }
        yield Opened(models, loras)


@contextmanager
def _open_model(name: str, path: Path, options: SourceOptions) -> Iterator[Source]:
    with open_source(path, options) as source:
        is_known = source.architecture != "unknown"
        if not is_known and _contents(source.checkpoint.tensors) is Contents.LORA:
            raise TensorMismatchError(
                path,
                f"is a LoRA; expected a model for {name}",
                code="lora-as-model",
                hint=f"write lora({name})",
            )
        yield source


def _open_lora(name: str, path: Path, base: Source) -> LoraCheckpoint:
    try:
        return open_lora(path, base.checkpoint.tensors, architecture=base.architecture)
    except TensorMismatchError as error:
        with open_checkpoint(path) as checkpoint:
            if _contents(checkpoint.tensors) is not Contents.ALL_IN_ONE:
                raise
        raise TensorMismatchError(
            path,
            f"is a whole checkpoint; expected a LoRA for lora({name})",
            code="model-as-lora",
            hint=f"a model is named without lora(): {name}",
        ) from error


def _contents(names: Iterable[str]) -> Contents:
    return contents_of(part_of(name) for name in names)


def check_headers(recipe: FoldedRecipe, paths: Mapping[str, Path]) -> None:
    """Check what can be known of a recipe's models from their headers.

    Args:
        recipe: The recipe.
        paths: Ingredient name -> its file, for those at hand; the others are passed
            over, as are LoRAs.

    Raises:
        CheckpointError: As for `open_source` and `check_ingredients`.
    """
    with ExitStack() as stack:
        found = {}
        for name, path in paths.items():
            if name not in recipe.loras:
                source = stack.enter_context(_open_model(name, path, SourceOptions()))
                found[name] = Ingredient(name, source.checkpoint, source.layout)
        check_ingredients(recipe, found)


def mixture(
    text: RecipeText,
    recipe: FoldedRecipe,
    opened: Opened,
    *,
    title: str,
    digests: Mapping[str, str],
) -> Material:
    """Return what a recipe makes of its ingredients, as material for outputs.

    Args:
        text: The recipe as it was written.
        recipe: The same, folded.
        opened: All that it needs.
        title: Name of the result.
        digests: Ingredient name -> SHA-256 of its file, where it is known.

    Raises:
        TensorMismatchError: An ingredient is of another architecture, or lacks tensors
            that the recipe does not say how to replace.
        ShapeError: A tensor's shape differs between ingredients.
    """
    found = opened.ingredients
    check_ingredients(recipe, found)
    used = tuple(found[name] for name in recipe.needed)
    weights = result_tensors(recipe, found)
    sources = tensor_sources(recipe, used)
    base = opened.models[recipe.copy_from]
    return Material(
        source=base,
        weights=weights,
        ingredients=used,
        sources=sources,
        mixed=frozenset(name for name in weights if not sources[name].copied),
        metadata=_metadata(text, recipe, opened, title=title, digests=digests),
        dropped=(),
        stem=title,
        recipe=_record(text, recipe),
        notes=_notes(opened),
        warnings=(
            *recipe.warnings,
            *left_out(weights, used),
            *_warnings(opened),
        ),
    )


def _metadata(
    text: RecipeText,
    recipe: FoldedRecipe,
    opened: Opened,
    *,
    title: str,
    digests: Mapping[str, str],
) -> dict[str, str]:
    """Return what the result's header says: a merge inherits no text of its parents.

    Titles and licences in a parent's header are those of the parent.
    """
    base = opened.models[recipe.copy_from]
    inputs = {
        name: ingredient.checkpoint for name, ingredient in opened.ingredients.items()
    }
    titles = {
        name: text.ingredients[name].title or visible(checkpoint.path.name)
        for name, checkpoint in inputs.items()
    }
    parents = [
        Parent(name, titles[name], digests.get(name), checkpoint.metadata)
        for name, checkpoint in sorted(inputs.items())
    ]
    metadata = {
        "format": "pt",
        **modelspec_of(base.architecture),
        **webui_metadata(_expression(text), parents),
        f"{MODELSPEC}title": visible(title),
        f"{MODELSPEC}merged_from": ", ".join(titles[name] for name in sorted(titles)),
        RECIPE_KEY: recipe.canonical(),
        RECIPE_SHA256_KEY: recipe.sha256(),
    }
    if "v_pred" in base.checkpoint.tensors:
        metadata[f"{MODELSPEC}prediction_type"] = "v"
    if any(STAND_IN_KEY in checkpoint.metadata for checkpoint in inputs.values()):
        metadata[STAND_IN_KEY] = STAND_IN_TEXT
    return metadata


def _expression(text: RecipeText) -> str:
    """Return the steps as one line."""
    if len(text.steps) == 1:
        return next(iter(text.steps.values()))
    steps = [f"{name} = {step}" for name, step in text.steps.items()]
    return _STEP_SEPARATOR.join([*steps, text.output])


def _record(text: RecipeText, recipe: FoldedRecipe) -> RecipeRecord:
    return RecipeRecord(
        canonical=recipe.canonical(),
        sha256=recipe.sha256(),
        convention=recipe.convention.name,
        output=text.output,
        steps=dict(text.steps),
        rows=recipe.decimal_rows(),
    )


def _notes(opened: Opened) -> tuple[str, ...]:
    return tuple(
        f"{name}: {note}"
        for name, source in opened.models.items()
        for note in source.notes
    )


def _warnings(opened: Opened) -> tuple[str, ...]:
    found = {name: source.warnings for name, source in opened.models.items()}
    found |= {name: lora.warnings for name, lora in opened.loras.items()}
    return tuple(f"{name}: {line}" for name, lines in found.items() for line in lines)
