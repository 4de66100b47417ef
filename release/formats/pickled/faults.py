"""Why a pickled checkpoint is refused: codes, the error class and next step of each.

The child that parses the file names a code and a reason. What the user is advised to do
is looked up here, in the parent: the child has read hostile bytes.
"""

from pathlib import Path
from typing import Final, NamedTuple

from release.errors import (
    CheckpointError,
    DtypeError,
    HeaderError,
    InputError,
    LayoutError,
    ShapeError,
    visible,
)
from release.formats.hints import DAMAGED, FAULTY_WRITER
from release.formats.refused import RefusedError

REASON_LENGTH_MAX: Final = 8192
"""Characters of a reason; longer ones are cut."""

_ATTACK: Final = (
    "if you trust another copy, convert that one; a safetensors file cannot run code"
)
_CRAFTED: Final = (
    "PyTorch never writes this: do not use the file, look for another copy"
)
_SAVE_AGAIN: Final = (
    "have its author save it again, as safetensors or with torch.save of a dictionary "
    "of plain tensors"
)


class Fault(NamedTuple):
    """The error class that a code becomes, and its hint."""

    error: type[CheckpointError]
    hint: str


FAULTS: Final = {
    "amplification": Fault(LayoutError, FAULTY_WRITER),
    "byteorder": Fault(HeaderError, DAMAGED),
    "compressed": Fault(
        CheckpointError,
        "PyTorch never compresses; unpack the archive and have its author save it "
        "again, as safetensors or with torch.save",
    ),
    "crc": Fault(LayoutError, "the file is damaged; copy or download it again"),
    "dtype": Fault(
        DtypeError,
        "convert the tensor to a float or integer dtype before saving, as safetensors",
    ),
    "duplicate-key": Fault(HeaderError, _CRAFTED),
    "format": Fault(CheckpointError, DAMAGED),
    "format-legacy": Fault(
        CheckpointError,
        "have its author save it again with PyTorch 1.6 or later, or as safetensors",
    ),
    "format-other": Fault(CheckpointError, "name a PyTorch or safetensors checkpoint"),
    "format-safetensors": Fault(
        CheckpointError, "give the file the suffix .safetensors"
    ),
    "global": Fault(CheckpointError, _ATTACK),
    "global-stubs": Fault(
        CheckpointError,
        "pass --stub-globals to read the weights and leave these objects out, or "
        "convert a safetensors copy",
    ),
    "input-changed": Fault(
        InputError, "run the command again when nothing else writes to the file"
    ),
    "key-type": Fault(HeaderError, _SAVE_AGAIN),
    "layout": Fault(
        CheckpointError,
        "convert the tensor to a dense one (to_dense, resolve_conj) before saving",
    ),
    "lfs-pointer": Fault(
        HeaderError,
        "run git lfs pull, or download the file from the Hub's web page",
    ),
    "meta": Fault(
        CheckpointError, "the file holds shapes but no weights; have it saved again"
    ),
    "missing-record": Fault(LayoutError, DAMAGED),
    "name": Fault(HeaderError, _SAVE_AGAIN),
    "name-length": Fault(HeaderError, FAULTY_WRITER),
    "no-tensors": Fault(
        CheckpointError, "name the file that holds the weights; this one has none"
    ),
    "opcode": Fault(CheckpointError, _ATTACK),
    "out-of-bounds": Fault(LayoutError, _CRAFTED),
    "overflow": Fault(ShapeError, _CRAFTED),
    "pickle": Fault(CheckpointError, DAMAGED),
    "pickle-reader": Fault(
        CheckpointError,
        "krelease's reading process failed: check the Python installation, and report "
        "it together with this file's origin",
    ),
    "pickle-size": Fault(CheckpointError, _CRAFTED),
    "rank": Fault(ShapeError, FAULTY_WRITER),
    "read-failed": Fault(
        InputError, "check the disk, then copy or download the file again"
    ),
    "recursion": Fault(CheckpointError, _SAVE_AGAIN),
    "resource-limit": Fault(CheckpointError, _ATTACK),
    "shape": Fault(ShapeError, _CRAFTED),
    "size-mismatch": Fault(LayoutError, DAMAGED),
    "stride": Fault(LayoutError, _CRAFTED),
    "structure": Fault(CheckpointError, _SAVE_AGAIN),
    "too-many-tensors": Fault(HeaderError, FAULTY_WRITER),
    "torchscript": Fault(
        CheckpointError,
        "load it with torch.jit.load in a program you trust, and save its state_dict "
        "as safetensors",
    ),
    "zip-duplicate": Fault(CheckpointError, _CRAFTED),
    "zip-flags": Fault(CheckpointError, _CRAFTED),
    "zip-member": Fault(CheckpointError, _CRAFTED),
    "zip-mismatch": Fault(CheckpointError, _CRAFTED),
}
"""Code -> class and hint; names with a suffix are hints only (see `RefusedError`)."""


def error_for(path: Path, refusal: RefusedError) -> CheckpointError:
    """Return the error that the user sees.

    Raises:
        KeyError: Code or advice is not one of `FAULTS`.
    """
    return FAULTS[refusal.code].error(
        path,
        visible(refusal.reason, REASON_LENGTH_MAX),
        code=refusal.code,
        hint=FAULTS[refusal.advice].hint,
    )
