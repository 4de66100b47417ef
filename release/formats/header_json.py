"""The JSON of a safetensors header: the strict reader's, within a header's limits.

Source:
    huggingface/safetensors, README "Format".
"""

from pathlib import Path
from typing import Final

from release.errors import HeaderError
from release.formats.hints import DAMAGED, FAULTY_WRITER
from release.formats.json_text import Json, JsonFaultError, parse_json_object
from release.formats.limits import PADDING_NBYTES_WARN, TENSORS_MAX

_OBJECTS_MAX: Final = TENSORS_MAX + 2
"""An object for every tensor, one for all of them, one for the metadata."""

_CODES_AND_HINTS: Final = {
    "utf8": ("header-utf8", DAMAGED),
    "json": ("header-json", DAMAGED),
    "too-many-values": ("too-many-values", FAULTY_WRITER),
    "duplicate-key": ("duplicate-key", FAULTY_WRITER),
}


def parse_header_json(
    path: Path, raw: bytes
) -> tuple[dict[str, Json], tuple[str, ...]]:
    """Return the members of the header's object and the warnings about its padding.

    Args:
        path: The file, for messages.
        raw: The header without its length field.

    Raises:
        HeaderError: `header-utf8`, `header-start`, `header-json`, `too-many-tensors`,
            `too-many-values` or `duplicate-key`.
    """
    _check_start(path, raw)
    body = raw.rstrip(b" \t\r\n")
    try:
        members = parse_json_object(body, objects_max=_OBJECTS_MAX)
    except JsonFaultError as fault:
        raise _header_error(path, fault) from None
    return members, _padding_warnings(raw, len(body))


def too_many_tensors(path: Path) -> HeaderError:
    """Return the error for a checkpoint with more tensors than the limit."""
    return HeaderError(
        path,
        f"holds more than {TENSORS_MAX:,} tensors",
        code="too-many-tensors",
        hint=FAULTY_WRITER,
    )


def _check_start(path: Path, raw: bytes) -> None:
    """Refuse blanks before the brace, which are legal JSON but no legal header."""
    n_blanks = len(raw) - len(raw.lstrip(b" \t\r\n"))
    if n_blanks and raw[n_blanks : n_blanks + 1] == b"{":
        raise HeaderError(
            path,
            f"header begins with {n_blanks:,} blank characters of padding, "
            f"expected {{ first",
            code="header-start",
            hint="padding belongs behind the header's text; save the file again with "
            "the safetensors library",
        )


def _header_error(path: Path, fault: JsonFaultError) -> HeaderError:
    if fault.kind == "too-many-objects":
        return too_many_tensors(path)
    code, hint = _CODES_AND_HINTS[fault.kind]
    return HeaderError(path, f"header {fault.reason}", code=code, hint=hint)


def _padding_warnings(raw: bytes, body_nbytes: int) -> tuple[str, ...]:
    n_padding = len(raw) - body_nbytes
    odd = any(raw.find(char, body_nbytes) >= 0 for char in (b"\t", b"\r", b"\n"))
    if odd or n_padding > PADDING_NBYTES_WARN:
        kind = "not all of them spaces" if odd else "all of them spaces"
        return (f"header-padding: {n_padding:,} bytes follow the text, {kind}",)
    return ()
