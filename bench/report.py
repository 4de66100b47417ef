"""What stands above and below the table: what the figures hold for."""

from dataclasses import dataclass

FULL, HALF, EIGHTH = 1, 2, 8

WIDTHS = {FULL: "full width", HALF: "half width"}
"""By divisor. Narrower than half, little but start-up is measured."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What the figures hold for."""

    cores: int
    processor: str
    other_cores: float
    place: str
    file_system: str
    is_on_disk: bool
    divisor: int
    n_checkpoints: int
    checkpoint_nbytes: int
    rounds: int
    own: str
    peers: str

    def lines(self) -> list[str]:
        """Return the header of the table."""
        width = WIDTHS.get(self.divisor, f"1/{self.divisor} of the width")
        count = f"{self.n_checkpoints} x {self.checkpoint_nbytes / 1e9:.2f} GB"
        place = f"{self.place} ({self.file_system})"
        busy = f"other programs used {self.other_cores:.1f} cores meanwhile"
        runs = f"median of {self.rounds}" if self.rounds > 1 else "one run"
        return [
            f"{self.cores} cores, {self.processor}; {busy}",
            f"{count}, fp16, {width} of SDXL, in {place}",
            f"{runs} after a warm-up",
            f"krelease: {self.own}",
            f"peers: {self.peers}",
        ]


_NOTES = """\
Times are of whole processes unless a line says otherwise; ranges are over the pairs.
Before each run of a conversion, what was written is on the disk and the source is read
once, so that it lies in the page cache if there is room. krelease ends with its results
on the disk and read back; the scripts and programs beside it end earlier.
load_file + .to + save_file: safetensors and torch, the same tensors cast, no report.
"""

_DISK_NOTES = """\
and sync: the time until the other's result is on the disk as well.
"""

_HALF_NOTES = """\
merge: one file, recipe and digests in its header, and the record beside it. A whole
release has a card, SHA-256 sums and a manifest as well.
sd-mecha: float32, its defaults. It counts time and label embedding (8 tensors) to BASE,
krelease's convention to IN00. mergekit-pytorch: float32, linear, normalize: false; one
run. Neither gives more than the tensors.
cat + cp: all ingredients to /dev/null, and one of them copied. Of eight ingredients
four are second links to the others: each is read whole.
casts in memory: 32 Mi elements, one thread, the fastest of five; torch's is copy_, and
with allocation what .to does. krelease casts in the engine's chunks, and clamps.
convert-to-quant: --simple and its defaults, which correct biases, too; one run. The
same tensors in fp8. stable-diffusion.cpp: leaves biases and some embeddings in fp32.
hf cache verify: of huggingface_hub, against a stub of a Hub on loopback.
convert, verify: one file of the width above; start-up weighs less at full size.
"""

_FULL_NOTES = """\
fp8-scaled and fp32 to fp16 are left to the table at half width: at full size their
files and the programs beside them are more than the memory holds.
"""


def notes(divisor_of_mode: int, *, on_disk: bool) -> str:
    """Return what stands below the table.

    Args:
        divisor_of_mode: What tells the modes apart: `FULL` or another.
        on_disk: Whether the files of the conversions lie on a disk.
    """
    more = _FULL_NOTES if divisor_of_mode == FULL else _HALF_NOTES
    return _NOTES + (_DISK_NOTES if on_disk else "") + more.rstrip()
