"""What a definition takes over from others: a checkpoint's header, a card, the maker.

All of it is foreign text, and is cut to one plain line before it goes anywhere.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from release.architecture.contents import Contents, contents_of, part_of
from release.architecture.sdxl import detect
from release.errors import CheckpointError
from release.formats.tensor import TensorEntry
from release.privacy import private_reason

TEXT_LENGTH_MAX: Final = 300
"""Characters of a foreign text that are taken over."""
LIST_LENGTH_MAX: Final = 50
"""Entries of a foreign list that are taken over."""
_MODELS: Final = frozenset({Contents.ALL_IN_ONE, Contents.UNET, Contents.SOME_PARTS})
_UNSEEN: Final = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a checkpoint lies.

    Attributes:
        path: On this machine, as the definition is to name it; "" for one on a Hub.
        hub: `OWNER/REPO`; "" for one on this machine, as are those below.
        revision: Branch, tag or commit.
        file: Path in the repository.
        sha256: Of the whole file, as the Hub states it; "" if it does not.
    """

    path: str = ""
    hub: str = ""
    revision: str = ""
    file: str = ""
    sha256: str = ""

    @property
    def name(self) -> str:
        """What the file is called, without its folders."""
        return (self.file or self.path).replace("\\", "/").rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Outline:
    """A checkpoint as its header shows it.

    Attributes:
        place: Where it lies.
        dtypes: Dtype code -> bytes of the tensors that have it.
        metadata: Of the header; foreign, and as it is.
    """

    place: Place
    dtypes: Mapping[str, int]
    metadata: Mapping[str, str]

    @property
    def main_dtype(self) -> str:
        """The dtype code of most bytes; "" of an empty checkpoint."""
        return max(self.dtypes, key=lambda code: self.dtypes[code], default="")

    def text(self, key: str) -> str:
        """Return a metadata entry as one plain line; "" if it is none or private."""
        value = self.metadata.get(key, "")
        return "" if private_reason(key, value) else plain_line(value)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a release besides its weights, from whoever says it.

    Attributes:
        title: Its name for people.
        summary: One sentence.
        author: Who releases it.
        repo: `OWNER/REPO` on the Hub.
        licence: Canonical name of the licence.
        licence_link: Where its text is.
        prompt: An example.
        negative_prompt: What belongs to it.
        language: Codes of languages.
        datasets: `OWNER/REPO` of data sets on the Hub.
        tags: What the Hub searches by.
        not_for_all_audiences: Whether the tag of that name is there.
    """

    title: str = ""
    summary: str = ""
    author: str = ""
    repo: str = ""
    licence: str = ""
    licence_link: str = ""
    prompt: str = ""
    negative_prompt: str = ""
    language: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    not_for_all_audiences: bool = False


def outline_of(
    place: Place, tensors: Mapping[str, TensorEntry], metadata: Mapping[str, str]
) -> Outline:
    """Return what a checkpoint's header shows.

    Raises:
        CheckpointError: Code "architecture": it is no SDXL model.
    """
    architecture = detect({name: entry.shape for name, entry in tensors.items()})
    contents = contents_of(part_of(name) for name in tensors)
    if architecture != "sdxl" or contents not in _MODELS:
        found = contents.value if architecture == "sdxl" else architecture
        raise CheckpointError(
            Path(place.name),
            f"is {found}, expected an SDXL model",
            code="architecture",
            hint="krelease inspect says what a file is; definitions are of SDXL",
        )
    dtypes: dict[str, int] = {}
    for entry in tensors.values():
        dtypes[entry.dtype.code] = dtypes.get(entry.dtype.code, 0) + entry.nbytes
    return Outline(place, dtypes, dict(metadata))


def plain_line(text: str) -> str:
    """Return foreign text as one printable line of at most `TEXT_LENGTH_MAX`.

    Control characters, bidi marks and line ends become blanks. Markdown, HTML and
    templates stay: they are text, and whoever shows it escapes it.
    """
    shown = "".join(x if x.isprintable() else " " for x in text[: 4 * TEXT_LENGTH_MAX])
    return _UNSEEN.sub(" ", shown).strip()[:TEXT_LENGTH_MAX].strip()
