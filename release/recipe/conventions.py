"""Block-weight conventions: which block of a list each tensor of SDXL is in.

The order of the 20 weights is the same everywhere, the map from tensors to blocks is
not: the same list gives different files in different tools. So a recipe always names
its convention.

Source:
    "supermerger": hako-mikan/sd-webui-supermerger 0b1c491,
    `scripts/mergers/mergers.py`. "sd-mecha": sd-mecha 1.1.8,
    `convert_sdxl_blocks_to_sgm`. "chattiori": Faildes/Chattiori-Model-Merger 5fc7fc2.
    "sdnext": vladmandic/sdnext 058a7f0, whose index takes the first value, BASE, for
    IN00, so that every block of the U-Net gets its neighbour's weight.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from release.errors import RecipeError, visible
from release.recipe.cells import PART_PREFIXES, TARGET_PARTS, Cell, Part, part_of
from release.recipe.names import suggestion
from release.recipe.weights import BASE, MIDDLE, WEIGHT_BLOCKS, BlockWeights

KEEP: Final = "KEEP"
"""Block of the tensors that a block merge leaves as its first operand has them."""
VAE: Final = "VAE"

DEFAULT_CONVENTION: Final = "supermerger"
"""What a recipe in one expression has where no other is named."""

_UNET: Final = "model.diffusion_model."
_NUMBERED: Final = (
    *((f"{_UNET}input_blocks.{index}.", f"IN{index:02}") for index in range(9)),
    (f"{_UNET}middle_block.", MIDDLE),
    *((f"{_UNET}output_blocks.{index}.", f"OUT{index:02}") for index in range(9)),
    (f"{_UNET}out.", "OUT08"),
)
_SHIFTED: Final = {
    block: WEIGHT_BLOCKS[max(0, WEIGHT_BLOCKS.index(block) - 1)]
    for block in WEIGHT_BLOCKS
}


@dataclass(frozen=True)
class Convention:
    """A map from tensor names to blocks.

    Attributes:
        name: What a recipe calls it.
        rules: (prefix, block); the first prefix that a name starts with decides.
        other: Block of a name that no prefix fits.
        merged_words: A tensor whose name has none of these words is in `KEEP`; empty
            if every tensor takes part.
        unweighted: The block beyond the 20 of a list; "" if there is none. A list of 20
            gives it weight 0.
        list_lengths: How many numbers a list of weights may have.
    """

    name: str
    rules: tuple[tuple[str, str], ...]
    other: str
    merged_words: tuple[str, ...] = ()
    unweighted: str = ""
    list_lengths: tuple[int, ...] = (len(WEIGHT_BLOCKS),)

    @property
    def blocks(self) -> tuple[str, ...]:
        """Every block a tensor can be in: those of a list in order, then the extra."""
        return (*WEIGHT_BLOCKS, *([self.unweighted] if self.unweighted else []))

    @property
    def targets(self) -> tuple[str, ...]:
        """Every name that `only` takes: parts, then blocks."""
        return (*TARGET_PARTS, *self.blocks)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every cell a tensor can be in, whatever its name: by block, then by part."""
        # Where a name leads depends only on the longest of these prefixes that it has,
        # and on whether one of the words is in it.
        found = {self.cell_of(prefix + word) for prefix, word in self._probes()}
        places = {part: at for at, part in enumerate(Part)}
        return tuple(
            sorted(
                found,
                key=lambda cell: (self.blocks.index(cell.block), places[cell.part]),
            )
        )

    def cell_of(self, tensor_name: str) -> Cell:
        """Return the cell of a tensor in the all-in-one SDXL layout."""
        return Cell(self.block_of(tensor_name), part_of(tensor_name))

    def block_of(self, tensor_name: str) -> str:
        """Return the block of a tensor in the all-in-one SDXL layout."""
        words = self.merged_words
        if words and not any(word in tensor_name for word in words):
            return KEEP
        for prefix, block in self.rules:
            if tensor_name.startswith(prefix):
                return block
        return self.other

    def is_in(self, cell: Cell, target: str) -> bool:
        """Return whether a cell belongs to a target, one of `targets`."""
        parts = TARGET_PARTS.get(target)
        return cell.block == target if parts is None else cell.part in parts

    def refusal(self, weights: BlockWeights) -> str:
        """Return why the convention does not take block weights, "" if it does."""
        count = weights.n_listed
        if count > 1 and count not in self.list_lengths:
            taken = " or ".join(map(str, self.list_lengths))
            return f"got {count} block weights; {self.name} takes {taken}"
        if weights.extra is not None and self.unweighted != VAE:
            return f"got a weight of the block VAE, which {self.name} does not have"
        return ""

    def _probes(self) -> Iterator[tuple[str, str]]:
        prefixes = ("", *PART_PREFIXES, *(prefix for prefix, _ in self.rules))
        for prefix in prefixes:
            yield prefix, "-"
            yield from ((prefix, word) for word in self.merged_words[:1])


SUPERMERGER: Final = Convention(
    name="supermerger",
    rules=(
        (f"{_UNET}time_embed.", "IN00"),
        (f"{_UNET}label_emb.", "IN00"),
        *_NUMBERED,
        ("conditioner.", BASE),
        ("first_stage_model.", BASE),
    ),
    other=KEEP,
    merged_words=("weight", "bias"),
    unweighted=KEEP,
    list_lengths=(20, 26),
)
SD_MECHA: Final = Convention(
    name="sd-mecha",
    rules=(*_NUMBERED, ("first_stage_model.", VAE)),
    other=BASE,
    unweighted=VAE,
    list_lengths=(20, 21),
)
CHATTIORI: Final = Convention(
    name="chattiori",
    rules=(*_NUMBERED, ("conditioner.", BASE)),
    other=KEEP,
    merged_words=("weight", "bias"),
    unweighted=KEEP,
)
SDNEXT: Final = Convention(
    name="sdnext",
    rules=(
        (f"{_UNET}label_emb.", WEIGHT_BLOCKS[-1]),
        *((prefix, _SHIFTED[block]) for prefix, block in _NUMBERED),
    ),
    other=BASE,
)

CONVENTIONS: Final[Mapping[str, Convention]] = {
    convention.name: convention
    for convention in (SUPERMERGER, SD_MECHA, CHATTIORI, SDNEXT)
}


def find_convention(name: str, *, label: str = "recipe.convention") -> Convention:
    """Return the convention called `name`.

    Args:
        name: As somebody wrote it.
        label: Where that was: a key path, or an option.

    Raises:
        RecipeError: Code "unknown-convention"; the hint lists or suggests names.
    """
    if name in CONVENTIONS:
        return CONVENTIONS[name]
    raise RecipeError(
        f"{label}: unknown block-weight convention '{visible(name)}'",
        code="unknown-convention",
        hint=suggestion(name, CONVENTIONS),
    )
