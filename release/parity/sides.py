"""Opening one of the two checkpoints of a comparison."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from release.architecture.ema import EmaMode
from release.convert.source import Source, SourceOptions, open_source
from release.errors import TensorMismatchError
from release.formats.diffusers_folder import is_pipeline

_NO_EMA: Final = "no-ema"


@contextmanager
def open_side(path: Path, options: SourceOptions) -> Iterator[Source]:
    """Open a checkpoint; closed at the end.

    The two of a comparison are stored differently, so that options which one of them
    has no use for do not count for it: the variant of a folder, and EMA weights that
    shall take the model's place.

    Raises:
        CheckpointError: As for `open_source`.
    """
    if not is_pipeline(path):
        options = replace(options, folder_variant=None)
    with ExitStack() as stack:
        try:
            source = stack.enter_context(open_source(path, options))
        except TensorMismatchError as error:
            if error.code != _NO_EMA:
                raise
            plain = replace(options, ema=EmaMode.KEEP)
            source = stack.enter_context(open_source(path, plain))
        yield source
