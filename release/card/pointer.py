"""The short text that lies beside a checkpoint and its licence inside a zip.

A zip travels alone. Whoever opens it must learn which file is inside, where the
full-precision weights are, under which licence it comes, and how to check it.
"""

from collections.abc import Sequence
from typing import Final

from release.card.environment import render_template
from release.card.ingredients import HUB
from release.definition import Definition
from release.licences.known import canonical_licence
from release.variants.preset import find_preset

ARCHIVE_README_NAME: Final = "README.txt"
"""What the text is called inside an archive."""


def archive_readme(
    definition: Definition,
    variant: str,
    *,
    file_name: str,
    full_precision_name: str,
    inherited: Sequence[str] = (),
) -> str:
    """Return README.txt of one archive, ending in a newline.

    It is needed before the manifest exists, so it states no size and no digest.

    Args:
        definition: Of the release the archive belongs to.
        variant: Name of the preset the file was written with.
        file_name: The checkpoint in the archive.
        full_precision_name: The release's checkpoint with the most precision; may be
            the same file.
        inherited: Names of the ingredients' licence texts in the archive.

    Raises:
        UsageError: `variant` is no preset.
        CardError: The template is missing or asks for something else.
    """
    release = definition.release
    return render_template(
        "archive_readme.txt.j2",
        {
            "title": release.title,
            "author": release.author,
            "repo": release.repo,
            "tag": release.tag,
            "url": f"{HUB}/{release.repo}/tree/{release.tag}",
            "file": file_name,
            "own_name": ARCHIVE_README_NAME,
            "summary": find_preset(variant).summary,
            "reduced": find_preset(variant).is_reduced,
            "full_precision": full_precision_name,
            "licence": canonical_licence(definition.licence.name),
            "licence_link": definition.licence.link,
            "inherited": list(inherited),
        },
    )
