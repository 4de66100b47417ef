"""What is asked about a file, and what is known of its tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from release.audit.places import Places
from release.audit.samples import Sampled, Samples
from release.engine.recheck import Rechecked
from release.recipe.rows import FoldedRecipe
from release.recipe.text import RecipeText


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about a file.

    Attributes:
        recipe: What it should be; None to find out.
        text: The same as it was written, if it is known.
        origin: Where the recipe comes from, for people.
        missing: Ingredients of it that are not at hand.
    """

    recipe: FoldedRecipe | None
    text: RecipeText | None = None
    origin: str = ""
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of the tensors.

    Attributes:
        sampled: Every tensor's sample.
        counts: Tensor name -> what its re-execution found, where there was one.
        samples: To look again.
        places: To say where.
        threads: Worker threads.
    """

    sampled: Sequence[Sampled]
    counts: Mapping[str, Rechecked]
    samples: Samples
    places: Places
    threads: int
