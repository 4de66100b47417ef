"""What a page is made with, besides the release that it is about."""

from dataclasses import dataclass
from pathlib import Path

from release.card.confined import check_folder
from release.catalog.find import find_definition
from release.definition import Definition
from release.errors import CardError
from release.pictures.file import require_plots


@dataclass(frozen=True, slots=True)
class Presentation:
    """What a page is made with.

    Attributes:
        previous: The release before this one, for the changelog; None for the first.
        templates: A maker's templates, which go before ours; None without any.
        has_pictures: Whether the error of every block is drawn beside the card.
    """

    previous: Definition | None = None
    templates: Path | None = None
    has_pictures: bool = False


PLAIN_PRESENTATION = Presentation()
"""No release before, and our templates."""


def presentation_of(
    definition: Definition,
    directory: Path,
    *,
    templates: Path | None = None,
    has_pictures: bool = False,
) -> Presentation:
    """Return what the pages of a release are made with.

    Args:
        definition: Of the release; `release.previous` names the one before it.
        directory: Where the maker's own definitions are.
        templates: A maker's template folder.
        has_pictures: Whether the error of every block is drawn beside the card.

    Raises:
        ReleaseError: Code "plots-extra": pictures cannot be drawn here.
        CardError: Code "previous-release": the release is its own predecessor;
            "template-folder": as `release.card.confined.check_folder`.
        RecipeError: As `release.catalog.find.find_definition`.
    """
    if has_pictures:
        require_plots("--pictures")
    if templates is not None:
        check_folder(templates)
    name = definition.release.previous
    if name is None:
        return Presentation(templates=templates, has_pictures=has_pictures)
    if name == definition.release.name:
        raise CardError(
            f"release.previous: {name} is this very release, expected the one before",
            code="previous-release",
            hint="remove release.previous, or name the release that came before",
        )
    previous, _ = find_definition(name, directory)
    return Presentation(previous, templates, has_pictures)
