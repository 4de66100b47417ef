"""`hf://OWNER/REPO[@REVISION]/FILE`: one file of a Hub, by name."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from release.errors import IntegrityError, UsageError, visible
from release.formats.input import InputFile
from release.formats.scan import scan
from release.hub.client import HubConnection
from release.hub.ingredients import fetch_ingredient, resolve_ingredient
from release.numeric.digest import Sha256

_REFERENCE: Final = re.compile(
    r"hf://(?P<repo>[a-z0-9][\w.-]*/[a-z0-9_][\w.-]*)"
    r"(@(?P<revision>[^\s/@]+))?"
    r"(/(?P<file>(?!\.{0,2}(/|$))[^/@]+(/(?!\.{0,2}(/|$))[^/@]+)*))?",
    re.ASCII | re.IGNORECASE,
)
"""No part of the file's path is empty, "." or ".."."""


@dataclass(frozen=True, slots=True)
class HubReference:
    """A repository, or one file of it.

    `revision` is a branch, tag or commit; `file` a path with `/`, None where none is
    named.
    """

    repo_id: str
    revision: str
    file: str | None


def parse_reference(text: str) -> HubReference | None:
    """Return what `hf://OWNER/REPO[@REVISION][/FILE]` names, None for other texts."""
    found = _REFERENCE.fullmatch(text)
    if found is None or not text.isprintable():
        return None
    return HubReference(found["repo"], found["revision"] or "main", found["file"])


def fetch_reference(connection: HubConnection, reference: str) -> Path:
    """Download the file that `reference` names, unless the cache has it.

    Its SHA-256 is compared with the one the Hub states, which the client does not do.

    Args:
        connection: Reads only.
        reference: `hf://OWNER/REPO[@REVISION]/FILE`; without a revision, of `main`.

    Returns:
        Its path in the Hub's cache.

    Raises:
        UsageError: `reference`, of another form.
        HubError: The Hub does not have it, refuses, or cannot be reached.
        IntegrityError: The bytes are not those the Hub names.
    """
    found = parse_reference(reference)
    if found is None or found.file is None:
        raise UsageError(
            f"{visible(reference)}: expected hf://OWNER/REPO[@REVISION]/FILE",
            code="reference",
            hint="for example hf://KBlueLeaf/Kohaku-XL-gamma/model.safetensors",
        )
    hub_file = resolve_ingredient(connection, found.repo_id, found.revision, found.file)
    path = fetch_ingredient(connection, hub_file)
    if hub_file.sha256 is not None:
        digest = Sha256()
        with InputFile(path) as file:
            scan(file, 0, file.nbytes, digest)
        if digest.hexdigest() != hub_file.sha256:
            blob = path.resolve()  # a link to it would be made again
            raise IntegrityError(
                f"{visible(reference)}: SHA-256 {digest.hexdigest()}, expected "
                f"{hub_file.sha256}",
                code="download",
                hint=f"delete {visible(blob, 1024)} and run the command again",
            )
    return path
