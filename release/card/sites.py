"""The pages of a release, for each site that it may be shown on.

All of them are made from the same facts; see `release.card.context`.
"""

from enum import Enum
from typing import Final

from release.card.civitai import civitai_form, form_section
from release.card.confined import render_all
from release.card.context import card_context
from release.card.presentation import PLAIN_PRESENTATION, Presentation
from release.card.render import render_hub_pages
from release.definition import Definition
from release.manifest import Manifest


class Site(Enum):
    """Where a page is shown; the value is what users call it."""

    HUB = "hf"
    CIVITAI = "civitai"
    SEAART = "seaart"
    GITHUB = "github"


_TEMPLATES: Final = {
    Site.CIVITAI: {
        "civitai-model.html": "civitai/model.html.j2",
        "civitai-version.html": "civitai/version.html.j2",
    },
    Site.SEAART: {"seaart.txt": "seaart/page.txt.j2"},
    Site.GITHUB: {"github-release.md": "github/release.md.j2"},
}
"""File name -> template, the page people read first."""

_FORM_NAME: Final = "civitai.json"


def render_pages(
    definition: Definition,
    manifest: Manifest,
    site: Site,
    *,
    presentation: Presentation = PLAIN_PRESENTATION,
) -> dict[str, str]:
    """Return the pages of a release for one site: file name -> text.

    The first is the one that people read; every text ends in a newline.

    Raises:
        CardError: As `release.card.render.render_card`.
        RecipeError: As there.
    """
    if site is Site.HUB:
        return render_hub_pages(definition, manifest, presentation=presentation)
    context = card_context(definition, manifest, previous=presentation.previous)
    context["form"] = form_section(definition)
    templates = _TEMPLATES[site]
    texts = render_all(list(templates.values()), context, presentation.templates)
    pages = {
        name: text.strip("\n") + "\n"
        for name, text in zip(templates, texts, strict=True)
    }
    if site is Site.CIVITAI:
        model, version = pages.values()
        descriptions = {"model": model, "version": version}
        pages[_FORM_NAME] = civitai_form(definition, manifest, descriptions)
    return pages
