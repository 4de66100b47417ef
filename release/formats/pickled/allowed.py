"""The names a pickle may use: exact lists, never prefixes, never a list of bad names.

Everything that is not listed is refused, and all such names are told to the user.
"""

from typing import Final

from release.errors import visible
from release.formats.pickled.values import DtypeName, Function, StorageType, Stub
from release.formats.refused import RefusedError
from release.numeric.dtype import Dtype

_FUNCTIONS: Final = {
    "collections.OrderedDict": Function.ORDERED_DICT,
    "torch._utils._rebuild_tensor_v2": Function.TENSOR_V2,
    "torch._utils._rebuild_tensor_v3": Function.TENSOR_V3,
    "torch._utils._rebuild_parameter": Function.PARAMETER,
    "torch.Size": Function.SIZE,
    "torch.device": Function.DEVICE,
}

_STORAGES: Final = {
    "torch.BFloat16Storage": Dtype.BF16,
    "torch.BoolStorage": Dtype.BOOL,
    "torch.ByteStorage": Dtype.U8,
    "torch.CharStorage": Dtype.I8,
    "torch.ComplexFloatStorage": Dtype.C64,
    "torch.DoubleStorage": Dtype.F64,
    "torch.FloatStorage": Dtype.F32,
    "torch.HalfStorage": Dtype.F16,
    "torch.IntStorage": Dtype.I32,
    "torch.LongStorage": Dtype.I64,
    "torch.ShortStorage": Dtype.I16,
    "torch.storage.UntypedStorage": None,
}

_DTYPES: Final = {
    "bfloat16": Dtype.BF16,
    "bool": Dtype.BOOL,
    "cdouble": None,
    "cfloat": Dtype.C64,
    "chalf": None,
    "complex128": None,
    "complex32": None,
    "complex64": Dtype.C64,
    "double": Dtype.F64,
    "float": Dtype.F32,
    "float16": Dtype.F16,
    "float32": Dtype.F32,
    "float4_e2m1fn_x2": None,
    "float64": Dtype.F64,
    "float8_e4m3fn": Dtype.F8_E4M3,
    "float8_e4m3fnuz": Dtype.F8_E4M3FNUZ,
    "float8_e5m2": Dtype.F8_E5M2,
    "float8_e5m2fnuz": Dtype.F8_E5M2FNUZ,
    "float8_e8m0fnu": Dtype.F8_E8M0,
    "half": Dtype.F16,
    "int": Dtype.I32,
    "int16": Dtype.I16,
    "int32": Dtype.I32,
    "int64": Dtype.I64,
    "int8": Dtype.I8,
    "long": Dtype.I64,
    "qint32": None,
    "qint8": None,
    "quint2x4": None,
    "quint4x2": None,
    "quint8": None,
    "short": Dtype.I16,
    "uint16": Dtype.U16,
    "uint32": Dtype.U32,
    "uint64": Dtype.U64,
    "uint8": Dtype.U8,
}

_NAMED: Final[dict[str, Function | StorageType | DtypeName]] = {
    **_FUNCTIONS,
    **{name: StorageType(name, dtype) for name, dtype in _STORAGES.items()},
    **{f"torch.{name}": DtypeName(name, dtype) for name, dtype in _DTYPES.items()},
}

_NOT_WEIGHTS: Final = {
    "torch._utils._rebuild_meta_tensor_no_storage": ("meta", "a tensor without data"),
    "torch._utils._rebuild_sparse_tensor": ("layout", "a sparse tensor"),
    "torch._utils._rebuild_sparse_csr_tensor": ("layout", "a sparse tensor"),
    "torch._utils._rebuild_nested_tensor": ("layout", "a nested tensor"),
    "torch.serialization._get_layout": ("layout", "a sparse tensor"),
    "torch._utils._rebuild_qtensor": ("dtype", "a quantised tensor"),
    "torch.per_tensor_affine": ("dtype", "a quantised tensor"),
    "torch.per_channel_affine": ("dtype", "a quantised tensor"),
    "torch.QInt32Storage": ("dtype", "quantised values"),
    "torch.QInt8Storage": ("dtype", "quantised values"),
    "torch.QUInt2x4Storage": ("dtype", "quantised values"),
    "torch.QUInt4x2Storage": ("dtype", "quantised values"),
    "torch.QUInt8Storage": ("dtype", "quantised values"),
    "torch.ComplexDoubleStorage": ("dtype", "complex values of 128 bits"),
}
"""Harmless names of tensors that are no plain array of numbers: code, and what."""

_STUB_PREFIXES: Final = ("pytorch_lightning.", "lightning.")
_STUB_NAMES: Final = {
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "_codecs.encode",
}

_LISTED: Final = 50
_REMEMBERED: Final = 1000


class Names:
    """Resolves the names of one pickle and remembers those that are not allowed.

    Args:
        stub_globals: Whether Lightning's classes and NumPy's scalars become stubs.
    """

    def __init__(self, *, stub_globals: bool) -> None:
        self._stub_globals = stub_globals
        self._unknown: dict[str, int] = {}
        self._n_more = 0
        self._stubbed: dict[str, int] = {}
        self._not_weights: dict[str, int] = {}

    def resolve(self, name: str, position: int) -> object:
        """Return the inert value that `name` stands for.

        Args:
            name: Module and name, joined by a dot.
            position: Byte of the pickle at which it is named.
        """
        known = _NAMED.get(name)
        if known is not None:
            return known
        if name in _NOT_WEIGHTS:
            self._not_weights.setdefault(name, position)
        elif self._stub_globals and _is_stubbable(name):
            self._stubbed.setdefault(name, position)
        elif len(self._unknown) < _REMEMBERED:
            self._unknown.setdefault(name, position)
        elif name not in self._unknown:
            self._n_more += 1
        return Stub(name, is_foreign=True)

    def require_allowed(self) -> None:
        """Refuse the pickle if it has named anything that is not allowed.

        Raises:
            RefusedError: `global`, else the code of a tensor that holds no weights.
        """
        if self._unknown:
            raise self._refusal()
        for name, position in self._not_weights.items():
            code, what = _NOT_WEIGHTS[name]
            raise RefusedError(
                code,
                f"holds {what} (`{name}` at byte {position} of data.pkl), expected "
                f"plain arrays of numbers",
            )

    def warnings(self) -> tuple[str, ...]:
        """Return the line about what was replaced by stubs, if anything was."""
        if not self._stubbed:
            return ()
        names = _listed(self._stubbed, 0)
        return (f"global: not read, replaced by inert stand-ins: {names}",)

    def _refusal(self) -> RefusedError:
        names = _listed(self._unknown, self._n_more)
        if all(_is_stubbable(name) for name in self._unknown):
            return RefusedError(
                "global",
                f"asks to call {names}; these belong to training tools, not to "
                f"weights. krelease did not run them",
                "global-stubs",
            )
        ran = "it" if len(self._unknown) + self._n_more == 1 else "them"
        return RefusedError(
            "global",
            f"asks to call {names}. This file may be an attack. "
            f"krelease did not run {ran}",
        )


def _is_stubbable(name: str) -> bool:
    return name in _STUB_NAMES or name.startswith(_STUB_PREFIXES)


def _listed(names: dict[str, int], n_more: int) -> str:
    """Return names with the bytes at which the pickle names them."""
    shown = [
        f"`{visible(name, 120)}` (pickle GLOBAL at byte {position})"
        for name, position in list(names.items())[:_LISTED]
    ]
    rest = len(names) - len(shown) + n_more
    return ", ".join(shown) + (f" and {rest:,} more" if rest else "")
