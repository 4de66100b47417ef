"""The few calls of a weight file, carried out on inert values.

Source:
    PyTorch, `torch/_utils.py` (the `_rebuild` functions) and `torch/serialization.py`
    (persistent ids).
"""

from typing import Final, NoReturn

from release.errors import visible
from release.formats.pickled.values import (
    Dict,
    DtypeName,
    Function,
    Storage,
    StorageType,
    Stub,
    Tensor,
)
from release.formats.refused import RefusedError
from release.numeric.dtype import Dtype

_KEY_LENGTH_MAX: Final = 256
_CAN_HAVE_GRADIENT: Final = {
    dtype for dtype in Dtype if dtype.code.startswith(("F", "BF", "C"))
}


def call(function: Function, arguments: tuple[object, ...], position: int) -> object:
    """Return what a weight file means by a call.

    Args:
        function: Which one.
        arguments: Of any types; all of them are checked.
        position: Byte of the pickle, for messages.

    Raises:
        RefusedError: `pickle`, `dtype`, `shape`, `layout` or `global`.
    """
    match function:
        case Function.ORDERED_DICT:
            if arguments:
                _refuse("calls OrderedDict with arguments", position)
            return Dict(is_ordered=True)
        case Function.TENSOR_V2:
            return _tensor_v2(arguments, position)
        case Function.TENSOR_V3:
            return _tensor_v3(arguments, position)
        case Function.PARAMETER:
            return _parameter(arguments, position)
        case Function.SIZE:
            return _size(arguments, position)
        case Function.DEVICE:
            return Stub("torch.device", is_foreign=False)


def _size(arguments: tuple[object, ...], position: int) -> tuple[object, ...]:
    if len(arguments) != 1 or not isinstance(arguments[0], tuple):
        _refuse("calls torch.Size with odd arguments", position)
    return arguments[0]


def _tensor_v2(arguments: tuple[object, ...], position: int) -> Tensor:
    match arguments:
        case (storage, offset, shape, strides, gradient, hooks, *rest):
            pass
        case _:
            _refuse("rebuilds a tensor with too few arguments", position)
    storage = _storage(storage, position)
    if storage.type.dtype is None:
        _refuse("rebuilds a tensor of plain bytes without a dtype", position, "dtype")
    _check_extras(gradient, hooks, rest, storage.type.dtype, position)
    return _view(storage.type.dtype, storage, (offset, shape, strides), position)


def _tensor_v3(arguments: tuple[object, ...], position: int) -> Tensor:
    match arguments:
        case (storage, offset, shape, strides, gradient, hooks, named, *rest):
            pass
        case _:
            _refuse("rebuilds a tensor with too few arguments", position)
    storage = _storage(storage, position)
    if not isinstance(named, DtypeName):
        _refuse("rebuilds a tensor whose dtype is none", position, "dtype")
    dtype = named.dtype
    if dtype is None or storage.type.dtype not in {None, dtype}:
        _refuse(
            f"rebuilds a tensor of torch.{named.name} from {storage.type.name}",
            position,
            "dtype",
        )
    _check_extras(gradient, hooks, rest, dtype, position)
    return _view(dtype, storage, (offset, shape, strides), position)


def _parameter(arguments: tuple[object, ...], position: int) -> Tensor:
    match arguments:
        case (Tensor() as tensor, gradient, hooks):
            pass
        case (Stub(is_foreign=True) as stub, *_):
            raise _foreign(stub, position)
        case _:
            _refuse("makes a parameter of what is no tensor", position)
    _check_extras(gradient, hooks, [], tensor.dtype, position)
    return tensor


def _storage(value: object, position: int) -> Storage:
    if isinstance(value, Stub):
        raise _foreign(value, position)
    if not isinstance(value, Storage):
        _refuse("rebuilds a tensor without a storage", position)
    return value


def _foreign(stub: Stub, position: int) -> RefusedError:
    return RefusedError(
        "global",
        f"data.pkl makes a tensor of `{visible(stub.name)}` (at byte {position}), "
        f"expected a storage. krelease did not run it",
    )


def _check_extras(
    gradient: object, hooks: object, rest: list[object], dtype: Dtype, position: int
) -> None:
    """Refuse what would change a tensor's values or fail in PyTorch itself.

    The metadata that may come last says whether the values are to be conjugated or
    negated on reading.
    """
    if not isinstance(gradient, bool) or not (hooks is None or isinstance(hooks, Dict)):
        _refuse("rebuilds a tensor with odd arguments", position)
    if gradient and dtype not in _CAN_HAVE_GRADIENT:
        _refuse(f"asks for gradients of {dtype.code}", position)
    match rest:
        case [] | [None]:
            pass
        case [Dict(pairs=[])]:
            pass
        case _:
            _refuse(
                "holds a tensor whose values are to be changed on reading (a lazy "
                "conjugate or negative)",
                position,
                "layout",
            )


def _view(
    dtype: Dtype, storage: Storage, place: tuple[object, ...], position: int
) -> Tensor:
    offset, shape, strides = place
    if (
        type(offset) is not int
        or not isinstance(shape, tuple)
        or not isinstance(strides, tuple)
        or any(type(number) is not int for number in (*shape, *strides))
        or len(shape) != len(strides)
    ):
        _refuse("rebuilds a tensor of an odd shape", position, "shape")
    return Tensor(dtype, storage, offset, shape, strides, position)


def persistent_storage(value: object, position: int) -> tuple[Storage, str]:
    """Return the storage that a persistent id describes, and its device.

    Raises:
        RefusedError: `pickle`, `zip-member`, `meta` or `global`.
    """
    if not isinstance(value, tuple):
        _refuse("has a persistent id that is no storage", position)
    match value:
        case ("storage", StorageType() as kind, str(key), str(location), int(numel)):
            pass
        case ("storage", Stub(is_foreign=True) as stub, *_):
            raise _foreign(stub, position)
        case _:
            _refuse("has a persistent id that is no storage", position)
    if isinstance(numel, bool) or numel < 0:
        _refuse(f"has a storage of {numel} elements", position)
    if location == "meta":
        _refuse("holds a tensor without data (device meta)", position, "meta")
    is_plain = key.isascii() and key.isalnum() and len(key) <= _KEY_LENGTH_MAX
    if not is_plain:
        _refuse(
            f"names a storage {visible(key, 40)}, expected letters and digits",
            position,
            "zip-member",
        )
    return Storage(key, kind, numel), location


def _refuse(reason: str, position: int, code: str = "pickle") -> NoReturn:
    raise RefusedError(code, f"data.pkl {reason} (at byte {position})")
