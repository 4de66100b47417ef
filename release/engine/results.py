"""What a pass found out: of one tensor, of one output, of the whole."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from release.engine.plan import OutputPlan
from release.engine.seal import Seal
from release.formats.tensor import tensor_set


class Deviation:
    """Sums over the elements of a tensor, or of several.

    The reference is the result in float32 (rounded to odd), which is 2**-24 from the
    float64 one: far below the figures printed. Chunks are added in file order, so the
    figures do not depend on the number of threads.
    """

    __slots__ = (
        "clamped",
        "error_square_sum",
        "flushed",
        "max_abs_error",
        "n_elements",
        "n_tensors",
        "square_sum",
    )

    def __init__(self, n_elements: int = 0, *, n_tensors: int = 1) -> None:
        self.n_tensors = n_tensors
        self.n_elements = n_elements
        self.max_abs_error = 0.0
        self.error_square_sum = 0.0
        self.square_sum = 0.0
        self.clamped = 0
        self.flushed = 0

    @classmethod
    def total(cls, parts: Iterable["Deviation"]) -> "Deviation":
        """Return the sum of several, added in the order given."""
        whole = cls(n_tensors=0)
        for part in parts:
            whole.n_tensors += part.n_tensors
            whole.n_elements += part.n_elements
            whole.max_abs_error = max(whole.max_abs_error, part.max_abs_error)
            whole.error_square_sum += part.error_square_sum
            whole.square_sum += part.square_sum
            whole.clamped += part.clamped
            whole.flushed += part.flushed
        return whole

    @property
    def snr(self) -> float:
        """Signal-to-noise ratio 20 log10(|w| / |w - w'|) in dB; infinite if equal."""
        if self.error_square_sum == 0.0:
            return math.inf
        if self.square_sum == 0.0:
            return 0.0
        return 10 * math.log10(self.square_sum / self.error_square_sum)

    @property
    def snr_db(self) -> str:
        """`snr` as decimal text; "inf" without error."""
        return f"{self.snr:.2f}"


@dataclass(frozen=True, slots=True)
class Written:
    """One tensor as it was written to one output.

    `name` is what it is called there; `digest` is its xxh3_128 in hex; `companions` the
    same for what goes with a scaled weight, by tensor name.
    """

    name: str
    digest: str
    deviation: Deviation
    companions: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class TensorResult:
    """What was measured while one tensor was made.

    `operand_digests` are xxh3_128 in hex, in the job's order; `written` is keyed by
    output number; `problems` holds one line for each reason why the tensor must not be
    published; `culprit` is the number of the ingredient whose value is not finite, None
    if it is no single one's fault.
    """

    name: str
    component: str
    operand_digests: list[str] = field(default_factory=list)
    written: dict[int, Written] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    culprit: int | None = None


@dataclass(frozen=True, slots=True)
class OutputReport:
    """What is known of one finished output: deviations whole, and by part."""

    plan: OutputPlan
    seal: Seal
    tensor_digests: dict[str, str]
    deviation: Deviation
    components: dict[str, Deviation]
    tensors: dict[str, Deviation]

    @property
    def tensor_set_xxh3_128(self) -> str:
        """Digest of the output's tensors, whatever their order in a file."""
        return tensor_set(self.plan.entries, self.tensor_digests)


@dataclass(frozen=True, slots=True)
class PassReport:
    """What is known after a pass. `ingredients` maps name to tensor set digest."""

    outputs: tuple[OutputReport, ...]
    ingredients: dict[str, str]
