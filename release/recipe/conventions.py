"""Block-weight conventions: which block of a list each tensor of SDXL is in.

The order of the 20 weights is the same everywhere, the map from tensors to blocks is
not: the same list gives different files in different tools. So a recipe always names
its convention.

Source:
    "supermerger": hako-mikan/sd-webui-supermerger 0b1c491,
    `scripts/mergers/mergers.py`. "sd-mecha": sd-mecha 1.1.8,
    `convert_sdxl_blocks_to_sgm`.
"""

from dataclasses import dataclass
from typing import Final

from release.errors import RecipeError, visible
from release.recipe.names import suggestion
from release.recipe.weights import BASE, MIDDLE, WEIGHT_BLOCKS

KEEP: Final = "KEEP"
"""Block of the tensors that a block merge leaves as its first operand has them."""
VAE: Final = "VAE"

_UNET: Final = "model.diffusion_model."
_NUMBERED: Final = (
    *((f"{_UNET}input_blocks.{index}.", f"IN{index:02}") for index in range(9)),
    (f"{_UNET}middle_block.", MIDDLE),
    *((f"{_UNET}output_blocks.{index}.", f"OUT{index:02}") for index in range(9)),
    (f"{_UNET}out.", "OUT08"),
)


@dataclass(frozen=True, slots=True)
class Convention:
    """A map from tensor names to blocks.

    Attributes:
        name: What a recipe calls it.
        rules: (prefix, block); the first prefix that a name starts with decides.
        other: Block of a name that no prefix fits.
        merged_words: A tensor whose name has none of these words is in `KEEP`; empty
            if every tensor takes part.
        unweighted: The block beyond the 20 of a list. A block merge gives it weight 0.
    """

    name: str
    rules: tuple[tuple[str, str], ...]
    other: str
    merged_words: tuple[str, ...]
    unweighted: str

    @property
    def blocks(self) -> tuple[str, ...]:
        """Every block a tensor can be in: those of a list in order, then the extra."""
        return (*WEIGHT_BLOCKS, self.unweighted)

    def block_of(self, tensor_name: str) -> str:
        """Return the block of a tensor in the all-in-one SDXL layout."""
        words = self.merged_words
        if words and not any(word in tensor_name for word in words):
            return KEEP
        for prefix, block in self.rules:
            if tensor_name.startswith(prefix):
                return block
        return self.other


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
)
SD_MECHA: Final = Convention(
    name="sd-mecha",
    rules=(*_NUMBERED, ("first_stage_model.", VAE)),
    other=BASE,
    merged_words=(),
    unweighted=VAE,
)

CONVENTIONS: Final = {
    convention.name: convention for convention in (SUPERMERGER, SD_MECHA)
}


def find_convention(name: str) -> Convention:
    """Return the convention called `name`.

    Raises:
        RecipeError: Code "unknown-convention"; the hint lists or suggests names.
    """
    if name in CONVENTIONS:
        return CONVENTIONS[name]
    raise RecipeError(
        f"recipe.convention: unknown block-weight convention '{visible(name)}'",
        code="unknown-convention",
        hint=suggestion(name, CONVENTIONS),
    )
