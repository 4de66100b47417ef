"""Small JSON files beside the weights: shard indexes, pipeline and scheduler configs.

They are as foreign as a header and are read by the same strict parser.
"""

from pathlib import Path

from release.errors import CheckpointError, HeaderError
from release.formats.header_json import Json, parse_header_json
from release.formats.hints import DAMAGED
from release.formats.input import InputFile


def read_json_object(path: Path, *, nbytes_max: int) -> dict[str, Json]:
    """Return the members of the one JSON object that `path` holds.

    Raises:
        InputError: As for `InputFile`.
        CheckpointError: `json-too-large` above `nbytes_max` bytes, else `json` with
            what is wrong: not UTF-8, not an object, a key twice, too many values.
    """
    with InputFile(path) as file:
        if file.nbytes > nbytes_max:
            raise CheckpointError(
                path,
                f"holds {file.nbytes:,} bytes, expected at most {nbytes_max:,}",
                code="json-too-large",
                hint="check that this is the file it is named after",
            )
        raw = file.read(0, file.nbytes)
    try:
        members, _ = parse_header_json(path, raw)
    except HeaderError as error:
        raise CheckpointError(
            path, error.reason.removeprefix("header "), code="json", hint=DAMAGED
        ) from error
    return members
