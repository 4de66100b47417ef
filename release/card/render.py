"""Rendering a model card: README.md of a release.

The card is deterministic: equal definitions and manifests give equal bytes, whether the
manifest comes from memory or from its file.
"""

from collections.abc import Mapping
from typing import Final

from release.card import front_matter
from release.card.context import card_context
from release.card.environment import Plain, render_template
from release.definition import Definition
from release.manifest import Manifest

SECTIONS: Final = (
    "rehearsal",
    "title",
    "files",
    "settings",
    "tags",
    "sizes",
    "background",
    "recipe",
    "coefficients",
    "ingredients",
    "measured",
    "issues",
    "verify",
    "licence",
    "changelog",
)
"""Templates `card/NAME.md.j2`, in the order of the page. An empty one leaves no gap."""


def render_card(definition: Definition, manifest: Manifest) -> str:
    """Return the text of README.md: front matter, body, one final newline.

    Args:
        definition: What the maker states.
        manifest: What was measured; its list of files may lack the card itself.

    Raises:
        CardError: Definition and manifest disagree, the licence's text is not known, a
            template asks for something that is not there, or the front matter does not
            read back.
        RecipeError: A step of the manifest's recipe cannot be read.
    """
    context = card_context(definition, manifest)
    fields = front_matter.front_matter(definition, manifest)
    card = f"{front_matter.dump(fields)}\n{_body(context)}\n"
    front_matter.check(card, fields)
    return card


def _body(context: Mapping[str, Plain]) -> str:
    rendered = (render_template(f"card/{name}.md.j2", context) for name in SECTIONS)
    sections = (text.strip("\n") for text in rendered)
    return "\n\n".join(text for text in sections if text)
