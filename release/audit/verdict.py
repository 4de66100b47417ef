"""What an audit can come to: each verdict is a stable word and one plain sentence."""

from enum import Enum


class Verdict(Enum):
    """What was done, as far as the data show it; the milder come first."""

    EXACT = (
        "exact",
        "The values are those of the recipe, bit for bit.",
    )
    ROUNDING_ORDER = (
        "rounding-order",
        (
            "The values are those of the recipe but for the last bit of a few, as when"
            " sums are taken in another order or in float32."
        ),
    )
    FITTED = (
        "fitted",
        "The values are sums of the ingredients with the coefficients found.",
    )
    PARTIAL = (
        "ingredient-missing",
        (
            "What the ingredients at hand can show agrees with the recipe; the rest"
            " cannot be decided without the missing ones."
        ),
    )
    UNIDENTIFIABLE = (
        "unidentifiable",
        (
            "The ingredients cannot be told apart here, so the values prove no"
            " coefficient."
        ),
    )
    INTERMEDIATE = (
        "intermediate-file",
        (
            "The coefficients are those of the recipe, but a result in between was"
            " rounded, as when it is saved as a file (float16 intermediate file)."
        ),
    )
    ARITHMETIC = (
        "other-arithmetic",
        (
            "The coefficients are those of the recipe, but sums were rounded on the"
            " way, as when they are taken in the dtype of the file."
        ),
    )
    CONVENTION = (
        "other-convention",
        "The block weights were applied by another convention than the recipe names.",
    )
    MISTAKE = (
        "recipe-mistake",
        "Another recipe was followed, a near one.",
    )
    COEFFICIENT = (
        "coefficient-differs",
        "The ingredients are those of the recipe, but not their coefficients.",
    )
    NOT_MERGED = (
        "not-merged",
        "Some tensors are still those of the base: the merge did not reach them.",
    )
    TAKEN = (
        "taken",
        "Some tensors were taken from one ingredient alone.",
    )
    ZERO_FILLED = (
        "zero-filled",
        "Some tensors hold nothing but zeros.",
    )
    FOREIGN = (
        "another-model",
        (
            "A few tensors are no sum of the ingredients: they come from another model,"
            " or were changed after the merge."
        ),
    )
    TENSORS = (
        "tensors-differ",
        "The file has other tensors, or other shapes, than the recipe makes.",
    )
    BUFFERS = (
        "buffers-differ",
        "Tensors that a merge copies unchanged are not those of the ingredient.",
    )
    CHANGED = (
        "changed-values",
        (
            "Single values differ from the recipe, and nothing that merges do explains"
            " it."
        ),
    )
    UNEXPLAINED = (
        "unexplained",
        (
            "The values are no sum of the ingredients: other ingredients, another"
            " method, or changes after the merge."
        ),
    )

    def __init__(self, code: str, sentence: str) -> None:
        self.code = code
        """Stable word for scripts; it never changes once released."""
        self.sentence = sentence
        """One plain sentence for people."""

    @property
    def is_grave(self) -> bool:
        """Whether something else than the recipe was done, roundings aside."""
        mild = {
            Verdict.PARTIAL,
            Verdict.UNIDENTIFIABLE,
            Verdict.INTERMEDIATE,
            Verdict.ARITHMETIC,
        }
        return not self.follows and self not in mild

    @property
    def follows(self) -> bool:
        """Whether the recipe was followed, or no recipe was asked about."""
        return self in {Verdict.EXACT, Verdict.ROUNDING_ORDER, Verdict.FITTED}
