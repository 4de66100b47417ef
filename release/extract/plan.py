"""Which layers of two models differ, and the file that follows from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from release.architecture.lora_modules import LoraModule, lora_metadata
from release.architecture.modelspec import MODELSPEC
from release.architecture.sdxl import Component, component_of, is_copied
from release.convert.source import stem_of
from release.engine.jobs import Operand
from release.engine.plan import (
    Ingredient,
    OutputPlan,
    OutputRequest,
    TensorSource,
    plan_pass,
    tensors_of,
)
from release.errors import TensorMismatchError, first_names, visible
from release.extract.models import Models
from release.formats.own_digest import check_own_digest
from release.formats.target import check_target
from release.formats.tensor import tensor_set
from release.metadata import STAND_IN_KEY, STAND_IN_TEXT
from release.numeric.dtype import Dtype
from release.progress import Progress
from release.variants.kind import Kind, kind_of

if TYPE_CHECKING:
    from release.engine.compare import Compared, Pair


@dataclass(frozen=True, slots=True)
class ExtractOptions:
    """What is wanted of the LoRA.

    Attributes:
        rank: Of every layer, where its shape allows it; from 1.
        dtype: Of the factors.
        trusts: Whether to go on when the tensors of a model are not those whose digests
            its header carries.
    """

    rank: int
    dtype: Dtype = Dtype.F16
    trusts: bool = False


@dataclass(frozen=True, slots=True)
class Unheld:
    """A tensor that differs, and that the LoRA cannot hold.

    `reason` is "vae", "missing" for one that only one model has, "buffer" for what is
    only ever copied, or the word that rules of variants have for it.
    """

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that differs.

    `square` is the squared Frobenius norm of the difference, `rank` that of its
    factors.
    """

    module: LoraModule
    rank: int
    square: float

    @property
    def up(self) -> str:
        """Name of the factor that is applied last."""
        return f"{self.module.name}.lora_up.weight"

    @property
    def down(self) -> str:
        """Name of the factor that is applied first."""
        return f"{self.module.name}.lora_down.weight"

    @property
    def alpha(self) -> str:
        """Name of the number that equals the rank, which makes the scale 1."""
        return f"{self.module.name}.alpha"


@dataclass(frozen=True, slots=True)
class ExtractPlan:
    """What will be written.

    Attributes:
        models: The two models.
        options: What is wanted.
        path: The file.
        layers: The layers that differ.
        unheld: The tensors that differ and are no layers, by name.
        output: The file, as the engine plans it.
        ingredients: "a" and "b" -> digest of the set of its tensors.
    """

    models: Models
    options: ExtractOptions
    path: Path
    layers: tuple[Layer, ...]
    unheld: tuple[Unheld, ...]
    output: OutputPlan
    ingredients: Mapping[str, str]

    @property
    def unchanged(self) -> tuple[LoraModule, ...]:
        """The layers that do not differ."""
        changed = {layer.module.name for layer in self.layers}
        return tuple(m for m in self.models.modules if m.name not in changed)


def plan_extract(
    models: Models,
    options: ExtractOptions,
    path: Path,
    *,
    threads: int,
    progress: Progress,
    overwrite: bool = False,
) -> ExtractPlan:
    """Read both models once, and plan a file with the layers that differ.

    Args:
        models: The two models.
        options: What is wanted.
        path: The file that is to be written.
        threads: Worker threads, from 1.
        progress: Told how far it is.
        overwrite: Whether the file may exist.

    Raises:
        OutputError: The file exists, or its folder does not.
        TensorMismatchError: `no-difference`.
        InputError: A file changed meanwhile.
        IntegrityError: A model is damaged, by the digests in its own header.
    """
    inputs = [file.stat() for each in models.sources for file in each.checkpoint.files]
    check_target(path, overwrite=overwrite, inputs=inputs)
    found = _compare(models, threads=threads, progress=progress)
    ingredients = _tensor_sets(models, found)
    if not options.trusts:
        for ingredient in models.ingredients:
            check_own_digest(ingredient.checkpoint, ingredients[ingredient.name])
    layers = []
    for module in models.modules:
        square = found[module.place.tensor][1].squares[module.place.part]
        if square != 0.0:
            layers.append(Layer(module, module.rank(options.rank), square))
    unheld = _unheld(models, found)
    if not layers:
        raise _no_difference(models, unheld)
    return ExtractPlan(
        models=models,
        options=options,
        path=path,
        layers=tuple(layers),
        unheld=unheld,
        output=_output(models, layers, options, path),
        ingredients=ingredients,
    )


def operands(ingredient: Ingredient, number: int) -> dict[str, Operand]:
    """Return all tensors of a model as the engine reads them, scales among them."""
    tensors, layout = ingredient.checkpoint.tensors, ingredient.layout
    entries = {**tensors, **tensors_of(ingredient)}
    scales = layout.scales if layout else {}
    return {
        name: Operand(number, entry, 0.0, scales.get(name))
        for name, entry in entries.items()
    }


def _compare(
    models: Models, *, threads: int, progress: Progress
) -> "dict[str, tuple[Pair, Compared]]":
    """Return tensor name -> its two sides, and what was found of them."""
    from release.engine.compare import compare

    checkpoints = [source.checkpoint for source in models.sources]
    pairs = _pairs(models)
    with progress.stage("compare", sum(pair.nbytes for pair in pairs)) as advance:
        found = compare(checkpoints, pairs, threads=threads, advance=advance)
    for checkpoint in checkpoints:
        checkpoint.check_unchanged()
    return {pair.name: (pair, each) for pair, each in zip(pairs, found, strict=True)}


def _pairs(models: Models) -> "list[Pair]":
    from release.engine.compare import Pair

    first, second = (
        operands(ingredient, number)
        for number, ingredient in enumerate(models.ingredients)
    )
    n_parts = {each.place.tensor: each.place.n_parts for each in models.modules}
    return [
        Pair(
            name,
            (first.get(name), second.get(name)),
            n_parts.get(name, 1),
            is_compared=_is_compared(first.get(name), second.get(name)),
        )
        for name in sorted(first.keys() | second.keys())
    ]


def _is_compared(first: Operand | None, second: Operand | None) -> bool:
    """Whether two tensors can be subtracted from each other."""
    if first is None or second is None or first.entry.shape != second.entry.shape:
        return False
    return not any(
        is_copied(each.entry.name, each.entry.dtype) for each in (first, second)
    )


def _unheld(
    models: Models, found: "Mapping[str, tuple[Pair, Compared]]"
) -> tuple[Unheld, ...]:
    held = {module.place.tensor for module in models.modules}
    scales = {name for source in models.sources for name in source.layout.auxiliary}
    return tuple(
        Unheld(name, _reason(name, pair, models))
        for name, (pair, compared) in found.items()
        if name not in held | scales and compared.squares != (0.0,)
    )


def _reason(name: str, pair: "Pair", models: Models) -> str:
    operand, other = pair.operands
    if operand is None or other is None:
        return "missing"
    if component_of(name) is Component.VAE:
        return "vae"
    if is_copied(name, operand.entry.dtype):
        return "buffer"
    if name.endswith("bias"):  # also of a norm, and of stacked layers
        return Kind.BIAS.value
    return kind_of(name, models.before.checkpoint.tensors).value


def _no_difference(models: Models, unheld: Sequence[Unheld]) -> TensorMismatchError:
    before = visible(models.before.checkpoint.path.name)
    rest = (
        f"; {len(unheld):,} other tensors differ: "
        f"{first_names(each.name for each in unheld)}"
        if unheld
        else ""
    )
    return TensorMismatchError(
        models.after.checkpoint.path,
        f"all {len(models.modules):,} layers that a LoRA can change equal those of "
        f"{before}, expected a difference{rest}",
        code="no-difference",
        hint="there is nothing to extract; name two models that differ",
    )


def _output(
    models: Models, layers: Sequence[Layer], options: ExtractOptions, path: Path
) -> OutputPlan:
    """Plan the file as one whose tensors come from nowhere: the engine lays it out."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in layers:
        shapes[layer.up] = layer.module.up_shape(layer.rank)
        shapes[layer.down] = layer.module.down_shape(layer.rank)
        shapes[layer.alpha] = ()
    sources = {
        name: TensorSource(shape, "", copied=False, operands=())
        for name, shape in shapes.items()
    }
    request = OutputRequest(
        variant="",
        name=path.name,
        dtypes=dict.fromkeys(shapes, options.dtype),
        metadata=_metadata(models, options, path),
    )
    return plan_pass(models.ingredients, sources, [request]).outputs[0]


def _metadata(models: Models, options: ExtractOptions, path: Path) -> dict[str, str]:
    metadata = lora_metadata(models.before.architecture, rank=options.rank)
    metadata[f"{MODELSPEC}title"] = stem_of(path)
    if "v_pred" in models.after.checkpoint.tensors:
        metadata[f"{MODELSPEC}prediction_type"] = "v"
    if any(STAND_IN_KEY in each.checkpoint.metadata for each in models.sources):
        metadata[STAND_IN_KEY] = STAND_IN_TEXT
    return metadata


def _tensor_sets(
    models: Models, found: "Mapping[str, tuple[Pair, Compared]]"
) -> dict[str, str]:
    sets = {}
    for number, ingredient in enumerate(models.ingredients):
        tensors = ingredient.checkpoint.tensors
        digests = {name: found[name][1].digests[number] for name in tensors}
        known = {name: digest for name, digest in digests.items() if digest is not None}
        sets[ingredient.name] = tensor_set(tensors.values(), known)
    return sets
