"""What our machine makes of a pickle: inert values, none of which can do anything.

Numbers, strings, lists and tuples are Python's own. Dictionaries are lists of pairs,
since hashing a hostile key can take for ever, and since a key given twice must be seen.
"""

from dataclasses import dataclass
from enum import Enum, auto

from release.numeric.dtype import Dtype


class Function(Enum):
    """The calls that a weight file needs; the machine carries them out itself."""

    ORDERED_DICT = auto()
    TENSOR_V2 = auto()
    TENSOR_V3 = auto()
    PARAMETER = auto()
    SIZE = auto()
    DEVICE = auto()


class Dict:
    """A dictionary as it was written: its pairs in order, keys of any kind.

    Args:
        is_ordered: Whether it is an OrderedDict, which may have attributes.
    """

    __slots__ = ("is_ordered", "pairs")

    def __init__(self, *, is_ordered: bool) -> None:
        self.is_ordered = is_ordered
        self.pairs: list[tuple[object, object]] = []


@dataclass(frozen=True, slots=True, eq=False)
class Stub:
    """Stands for an object that is not read: a class, an instance, a device.

    `is_foreign` says that its class is none that weight files need.
    """

    name: str
    is_foreign: bool


@dataclass(frozen=True, slots=True)
class DtypeName:
    """A `torch.<dtype>`; `dtype` is None where safetensors has no such dtype."""

    name: str
    dtype: Dtype | None


@dataclass(frozen=True, slots=True)
class StorageType:
    """A `torch.<X>Storage`; `dtype` is None for storages of plain bytes."""

    name: str
    dtype: Dtype | None

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return 1 if self.dtype is None else self.dtype.bits // 8


@dataclass(frozen=True, slots=True)
class Storage:
    """A record of the archive, as the pickle describes it.

    Attributes:
        key: Name below `data/`.
        type: What its elements are.
        numel: How many elements it is said to have.
    """

    key: str
    type: StorageType
    numel: int


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A view of a storage; offset and strides in elements, nothing checked but types.

    `position` is the byte of the pickle at which it was made.
    """

    dtype: Dtype
    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    position: int
