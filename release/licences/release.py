"""What a release may be licensed as, from its definition."""

from typing import Final

from release.definition import Definition, folded_recipe
from release.licences.combine import Combination, Part, combine

_BASES: Final = {"sdxl": ("Stable Diffusion XL base 1.0", "openrail++")}
"""Architecture -> the model that all of its kind derive from, and its licence."""


def base_part(architecture: str) -> Part | None:
    """Return the model that an architecture's models derive from; None if unknown."""
    if architecture not in _BASES:
        return None
    title, licence = _BASES[architecture]
    return Part(architecture, title, licence, source="the architecture")


def licence_parts(definition: Definition) -> tuple[Part, ...]:
    """Return what a release is made of, as far as licences go.

    That is everything the recipe reads, both sides of a difference too, and the model
    that its architecture comes from. Ingredients that cancel out are not read.

    Raises:
        RecipeError: As `release.recipe.fold.fold`.
    """
    needed = folded_recipe(definition).needed
    parts = [
        Part(
            name,
            source.title,
            source.licence or "",
            source=f"ingredients.{name}.licence",
            reason=source.licence_reason or "",
            key=f"ingredients.{name}.licence_reason",
        )
        for name, source in definition.ingredients.items()
        if name in needed
    ]
    base = base_part(definition.release.architecture)
    return (*([base] if base else []), *parts)


def explain_licence(definition: Definition) -> Combination:
    """Return which licences a release may have, step by step; a problem is a value.

    Raises:
        RecipeError: As `release.recipe.fold.fold`.
    """
    return combine(licence_parts(definition), definition.licence.name)


def check_licence(definition: Definition) -> tuple[str, ...]:
    """Refuse a release whose ingredients do not allow its licence.

    Returns:
        What is allowed but uncertain, one line each.

    Raises:
        CardError: Codes "licence-undeclared" (an ingredient has no licence, or one that
            is not known), "licence-not-known", "licence-conflict" (two ingredients
            that no licence suits), "licence-forbidden" (the chosen one is not allowed);
            the hint names the key of the definition that takes a reason.
    """
    found = explain_licence(definition)
    if found.problem is not None:
        raise found.problem
    return found.warnings
