"""What the outputs of a pass are made of: one checkpoint, or a mixture of several."""

from collections.abc import Mapping
from dataclasses import dataclass

from release.architecture.sdxl import component_of, is_copied
from release.carried import Dropped, carry
from release.convert.names import bare_stem
from release.convert.options import ConvertOptions
from release.convert.source import Source
from release.engine.plan import Ingredient, TensorSource, tensors_of
from release.errors import visible
from release.formats.tensor import TensorEntry
from release.manifest import RecipeRecord

ONLY_INGREDIENT = "source"
"""What the checkpoint of a conversion is called where ingredients have names."""


@dataclass(frozen=True, slots=True)
class Material:
    """Tensors that can be written in any variant.

    Attributes:
        source: The checkpoint that is converted, or whose tensors a mixture has: their
            names, shapes and dtypes count, and its size is the one before.
        weights: The tensors of the result, in the dtype that `source` has them in.
        ingredients: All that is read.
        sources: Where every tensor comes from.
        mixed: Tensors of `weights` that are computed and not only cast.
        metadata: What every output's header says.
        dropped: Metadata of `source` that is not carried over.
        stem: What names of outputs begin with.
        recipe: What was applied; None for a conversion.
        notes: What was found, one line each.
        warnings: What the user should know, one line each.
    """

    source: Source
    weights: Mapping[str, TensorEntry]
    ingredients: tuple[Ingredient, ...]
    sources: Mapping[str, TensorSource]
    mixed: frozenset[str]
    metadata: Mapping[str, str]
    dropped: tuple[Dropped, ...]
    stem: str
    recipe: RecipeRecord | None
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def verb(self) -> str:
        """What is done with it, as progress is called."""
        return "convert" if self.recipe is None else "merge"


def of_source(source: Source, options: ConvertOptions) -> Material:
    """Return a checkpoint as material for its conversion."""
    ingredient = Ingredient(ONLY_INGREDIENT, source.checkpoint, source.layout)
    weights = tensors_of(ingredient)
    carried = carry(
        source.checkpoint.metadata,
        architecture=source.architecture,
        title=visible(bare_stem(source.stem)),
        has_v_pred="v_pred" in source.checkpoint.tensors,
        keep_private=options.keeps_private,
        outdated=source.layout.metadata_keys,
    )
    return Material(
        source=source,
        weights=weights,
        ingredients=(ingredient,),
        sources=_sources(source, weights),
        mixed=frozenset(),
        metadata=carried.kept,
        dropped=carried.dropped,
        stem=source.stem,
        recipe=None,
        notes=source.notes,
        warnings=source.warnings,
    )


def _sources(
    source: Source, weights: Mapping[str, TensorEntry]
) -> dict[str, TensorSource]:
    """Say where every tensor comes from; scales are read for their digests, too."""
    found = {}
    for name, entry in source.checkpoint.tensors.items():
        known = source.single_file_name(name)
        found[name] = TensorSource(
            shape=entry.shape,
            component=component_of(known).value,
            copied=name not in weights or is_copied(known, weights[name].dtype),
            operands=((0, 1.0),),
        )
    return found
