"""What a conversion is asked to do."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from release.variants.preset import Preset
    from release.variants.rules import Rules


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """How to convert, whatever the source.

    Attributes:
        presets: The variants to write, in one reading.
        rules: The user's own, which come before those of every preset.
        shard_nbytes: Most bytes of data in one file; None for one file.
        keeps_private: Metadata that gives something away is carried over, too.
        clamps: Values beyond a dtype's finite range become its edge.
        identifies: The SHA-256 of every output is taken.
        trusts: Tensors that differ from the digests in a source's header are no error.
        min_snr: Tensors that would lose more than this many dB leave room stay F16.
        fail_below: A tensor below this many dB is an error.
        file_stem: What the only variant's files begin with, instead of a name made of
            the source's and the preset's.
    """

    presets: tuple["Preset", ...]
    rules: "Rules | None" = None
    shard_nbytes: int | None = None
    keeps_private: bool = False
    clamps: bool = False
    identifies: bool = False
    trusts: bool = False
    min_snr: float | None = None
    fail_below: float | None = None
    file_stem: str = ""
