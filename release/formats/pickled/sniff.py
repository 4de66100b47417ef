"""What a file is that is not a zip archive, from its first bytes."""

import re
from typing import Final

from release.formats.refused import RefusedError
from release.formats.unzip.source import Source

ZIP_MAGIC: Final = b"PK\x03\x04"
"""First bytes of every archive that PyTorch writes."""

_PROBE_NBYTES: Final = 512
_TAR_MAGIC_AT: Final = 257
_LEGACY: Final = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""The pickled number 0x1950a86a20f9469cfc6c, by which the old form begins."""

_BEFORE_ZIP: Final = "a PyTorch checkpoint of the form before 1.6, which is not read"
_TAR: Final = "a tar archive, perhaps a very old PyTorch checkpoint"
_TEXT: Final = re.compile(rb"[\t\r\n\x20-\x7e]*")

_KINDS: Final = (
    (b"PK\x05\x06", "an empty zip archive", "format-other"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "format-other"),
    (b"\x1f\x8b", "a gzip file", "format-other"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file", "format-other"),
    (b"\xfd7zXZ\0", "an xz file", "format-other"),
    (b"Rar!", "a RAR archive", "format-other"),
    (b"GGUF", "a GGUF file", "format-other"),
    (b"\x89HDF", "an HDF5 file", "format-other"),
    (b"\x93NUMPY", "a NumPy array", "format-other"),
    (b"<", "a web page: the download was an error page", "format"),
    (b"{", "JSON text, perhaps an index or a configuration", "format-other"),
)


def require_zip(source: Source) -> None:
    """Refuse what is not a zip archive, naming what it is.

    Raises:
        RefusedError: `lfs-pointer` or `format`.
    """
    probe = source.read(0, min(_PROBE_NBYTES, source.nbytes))
    if probe.startswith(ZIP_MAGIC):
        return
    if probe.startswith(b"version https://git-lfs.github.com/spec/"):
        raise RefusedError(
            "lfs-pointer", "is a Git LFS pointer, expected the file it points to"
        )
    kind, advice = _kind(probe, source.nbytes)
    raise RefusedError(
        "format", f"is {kind}, expected a PyTorch checkpoint in zip form", advice
    )


def _kind(probe: bytes, nbytes: int) -> tuple[str, str]:
    """Return what the file is, and the advice that fits."""
    for magic, text, advice in _KINDS:
        if probe.startswith(magic):
            return text, advice
    header_nbytes = int.from_bytes(probe[:8], "little")
    tests = (
        (not probe, "empty", "format"),
        (probe[2:].startswith(_LEGACY), _BEFORE_ZIP, "format-legacy"),
        (probe[_TAR_MAGIC_AT:].startswith(b"ustar"), _TAR, "format-legacy"),
        (
            probe[:1] == b"\x80" and probe[1:2] <= b"\x05",
            "a bare pickle, which is never read",
            "format-other",
        ),
        (
            probe[8:9] == b"{" and 8 + header_nbytes <= nbytes,
            "a safetensors file under another suffix",
            "format-safetensors",
        ),
        (_TEXT.fullmatch(probe) is not None, "a text file", "format-other"),
    )
    found = ((text, advice) for applies, text, advice in tests if applies)
    return next(found, ("a file of unknown format", "format"))
