"""Rendering a model card: README.md of a release, and the pictures beside it.

The card is deterministic: equal definitions and manifests give equal bytes, whether the
manifest comes from memory or from its file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from release.card import front_matter
from release.card.block_errors import BLOCK_ERRORS_NAME, block_errors
from release.card.confined import render_all
from release.card.context import card_context
from release.card.environment import Plain
from release.card.lineage import LINEAGE_NAME, lineage_of
from release.card.presentation import PLAIN_PRESENTATION, Presentation
from release.card.svg import lineage_svg
from release.definition import Definition
from release.manifest import CARD_NAME, Manifest
from release.pictures.file import picture_bytes

SECTIONS: Final = (
    "rehearsal",
    "title",
    "files",
    "programs",
    "settings",
    "tags",
    "sizes",
    "background",
    "recipe",
    "lineage",
    "coefficients",
    "ingredients",
    "measured",
    "audit",
    "issues",
    "verify",
    "licence",
    "changelog",
)
"""Templates `card/NAME.md.j2`, in the order of the page. An empty one leaves no gap."""


def render_card(
    definition: Definition,
    manifest: Manifest,
    *,
    presentation: Presentation = PLAIN_PRESENTATION,
) -> str:
    """Return the text of README.md: front matter, body, one final newline.

    Args:
        definition: What the maker states.
        manifest: What was measured; its list of files may lack the card itself.
        presentation: The release before, and the maker's templates.

    Raises:
        CardError: Definition and manifest disagree, the licence's text is not known, a
            template cannot be rendered (see `release.card.confined.render_all`), or the
            front matter does not read back.
        RecipeError: A step of the manifest's recipe cannot be read.
    """
    context = card_context(
        definition,
        manifest,
        previous=presentation.previous,
        has_pictures=presentation.has_pictures,
    )
    fields = front_matter.front_matter(definition, manifest)
    card = f"{front_matter.dump(fields)}\n{_body(context, presentation.templates)}\n"
    front_matter.check(card, fields)
    return card


def render_hub_pages(
    definition: Definition,
    manifest: Manifest,
    *,
    presentation: Presentation = PLAIN_PRESENTATION,
) -> dict[str, str]:
    """Return the card and the pictures beside it: file name -> text, the card first.

    Raises:
        ReleaseError: As `render_card`.
    """
    pages = {
        CARD_NAME: render_card(definition, manifest, presentation=presentation),
        LINEAGE_NAME: render_lineage(definition),
    }
    if presentation.has_pictures:
        picture = picture_bytes(block_errors(definition, manifest), "svg")
        pages[BLOCK_ERRORS_NAME] = picture.decode()
    return pages


def render_lineage(definition: Definition) -> str:
    """Return the picture of what a release was merged from, SVG.

    Raises:
        RecipeError: As `release.recipe.fold.fold`.
    """
    title = f"Lineage of {definition.release.title}"
    return lineage_svg(lineage_of(definition), title=title)


def _body(context: Mapping[str, Plain], own: Path | None) -> str:
    rendered = render_all([f"card/{name}.md.j2" for name in SECTIONS], context, own)
    sections = (text.strip("\n") for text in rendered)
    return "\n\n".join(text for text in sections if text)
