"""Small JSON files beside the weights: shard indexes, pipeline and scheduler configs.

They are as foreign as a header and are read as strictly.
"""

from pathlib import Path

from release.errors import CheckpointError
from release.formats.hints import DAMAGED
from release.formats.input import InputFile
from release.formats.json_text import Json, JsonFaultError, parse_json_object


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
        return parse_json_object(raw)
    except JsonFaultError as fault:
        raise CheckpointError(path, fault.reason, code="json", hint=DAMAGED) from None
