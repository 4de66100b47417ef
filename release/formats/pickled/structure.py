"""Where in the pickled value the state dict is.

Real files wrap it: trainers put it beside their own state under one of a few keys.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from release.errors import first_names, visible
from release.formats.limits import NAME_NBYTES_MAX, TENSORS_MAX
from release.formats.pickled.values import Dict, DtypeName, StorageType, Stub, Tensor
from release.formats.refused import RefusedError

_DEPTH_MAX: Final = 8
_VISITED_MAX: Final = 1_000_000
_WRAPPERS: Final = (
    "state_dict",
    "model",
    "module",
    "model_state_dict",
    "params",
    "params_ema",
)
"""Keys under which a state dict is found, the first of them first."""
_WRAPPED_MAX: Final = 2
_EMA: Final = re.compile(r"(^|[_.-])ema($|[_.-])", re.IGNORECASE)
_KINDS: Final[dict[type, str]] = {
    type(None): "nothing",
    Dict: "a dictionary",
    list: "a list",
    tuple: "a tuple",
    Tensor: "a bare tensor",
}
_RESERVED: Final = "__metadata__"
_PLAIN: Final = (str, int, float, type(None), DtypeName, StorageType)


@dataclass(frozen=True, slots=True)
class StateDict:
    """The tensors of a file by name, and what was found beside them."""

    tensors: dict[str, Tensor]
    warnings: tuple[str, ...]


def find_state_dict(top: object) -> StateDict:
    """Return the tensors that `top` holds, unwrapped.

    Args:
        top: What the pickle is.

    Raises:
        RefusedError: `recursion`, `structure`, `duplicate-key`, `key-type`, `name`,
            `name-length`, `too-many-tensors`, `no-tensors` or `global`.
    """
    _check_depth(top)
    if not isinstance(top, Dict):
        raise RefusedError(
            "structure",
            f"holds {kind_of(top)}, expected a dictionary of tensors",
        )
    warnings: list[str] = []
    path: list[str] = []
    current = top
    while (found := _wrapper(current)) is not None:
        key, inner = found
        path.append(key)
        if len(path) > _WRAPPED_MAX:
            raise RefusedError(
                "structure",
                f"wraps its tensors more than twice, got {' / '.join(path)}",
            )
        warnings += _siblings(current, key)
        current = inner
    if len(path) == _WRAPPED_MAX:
        warnings.append(f"structure: the tensors are wrapped twice, {' / '.join(path)}")
    tensors, dropped = _tensors(current)
    if dropped:
        warnings.append(f"dropped: no tensors, not read: {first_names(dropped)}")
    return StateDict(tensors, tuple(warnings))


def _check_depth(top: object) -> None:
    """Refuse values that contain themselves, or are nested too deeply.

    Every container is looked into once; what is known of its height answers for it when
    it is met again.
    """
    if not _is_container(top):
        return
    heights: dict[int, int] = {}
    path = [(top, _containers_in(top))]
    on_path = {id(top)}
    while path:
        node, rest = path[-1]
        child = next(rest, None)
        if child is None:
            path.pop()
            on_path.discard(id(node))
            below = (heights[id(each)] for each in _containers_in(node))
            heights[id(node)] = 1 + max(below, default=0)
        elif id(child) in on_path:
            raise RefusedError("recursion", "holds a container that contains itself")
        elif len(path) + heights.get(id(child), 1) > _DEPTH_MAX:
            raise RefusedError(
                "recursion", f"is nested more than {_DEPTH_MAX} levels deep"
            )
        elif id(child) not in heights:
            if len(heights) >= _VISITED_MAX:
                raise RefusedError(
                    "recursion", f"holds more than {_VISITED_MAX:,} containers"
                )
            path.append((child, _containers_in(child)))
            on_path.add(id(child))


def _is_container(value: object) -> bool:
    return isinstance(value, Dict | list | tuple) and value != ()


def _containers_in(node: object) -> Iterator[object]:
    if isinstance(node, Dict):
        for pair in node.pairs:
            yield from (each for each in pair if _is_container(each))
    elif isinstance(node, list | tuple):
        yield from (each for each in node if _is_container(each))


def _wrapper(current: Dict) -> tuple[str, Dict] | None:
    """Return key and value of the dictionary that is wrapped, None if this is it."""
    inner = {
        key: value
        for key, value in current.pairs
        if isinstance(key, str) and isinstance(value, Dict)
    }
    return next(((key, inner[key]) for key in _WRAPPERS if key in inner), None)


def _siblings(current: Dict, wrapper: str) -> list[str]:
    """Return the warnings about what lies beside a wrapped state dict."""
    keys = [key for key, _ in current.pairs if key != wrapper]
    if len(keys) + 1 != len(current.pairs):
        raise _duplicate(wrapper)
    names = [key if isinstance(key, str) else kind_of(key) for key in keys]
    averages = [name for name in names if _EMA.search(name)]
    others = [name for name in names if not _EMA.search(name)]
    warnings: list[str] = []
    if averages:
        warnings.append(
            f"ema: averaged weights beside {wrapper} are not read: "
            f"{first_names(averages)}"
        )
    if others:
        warnings.append(f"dropped: beside {wrapper}, not read: {first_names(others)}")
    return warnings


def _tensors(state: Dict) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors of a state dict, and the names of its plain values."""
    tensors: dict[str, Tensor] = {}
    dropped: list[str] = []
    seen: set[str] = set()
    for key, value in state.pairs:
        if not isinstance(key, str):
            raise RefusedError(
                "key-type", f"tensor name is {kind_of(key)}, expected a string"
            )
        if key in seen:
            raise _duplicate(key)
        seen.add(key)
        if isinstance(value, Tensor):
            check_name(key)
            tensors[key] = value
        elif isinstance(value, _PLAIN):
            dropped.append(key)
        else:
            _refuse_value(key, value)
    if not tensors:
        raise RefusedError("no-tensors", "holds no tensor, expected at least one")
    if len(tensors) > TENSORS_MAX:
        raise RefusedError(
            "too-many-tensors",
            f"holds {len(tensors):,} tensors, expected at most {TENSORS_MAX:,}",
        )
    return tensors, dropped


def _refuse_value(key: str, value: object) -> None:
    code = "structure"
    ran = ""
    if isinstance(value, Stub) and value.is_foreign:
        code, ran = "global", ". krelease did not run it"
    raise RefusedError(
        code, f"tensor {visible(key)}: is {kind_of(value)}, expected a tensor{ran}"
    )


def check_name(name: str) -> None:
    """Refuse a name that no safetensors file can hold.

    Raises:
        RefusedError: `name` or `name-length`.
    """
    if name == _RESERVED:
        raise RefusedError("name", f"a tensor is named {_RESERVED}, which is reserved")
    try:
        nbytes = len(name.encode())
    except UnicodeEncodeError:
        raise RefusedError(
            "name", f"tensor {visible(name)}: name holds half of a surrogate pair"
        ) from None
    if nbytes > NAME_NBYTES_MAX:
        raise RefusedError(
            "name-length",
            f"tensor {visible(name, 40)}: name of {nbytes:,} bytes, "
            f"expected at most {NAME_NBYTES_MAX:,}",
        )


def _duplicate(name: str) -> RefusedError:
    return RefusedError(
        "duplicate-key", f"names {visible(name)} twice, expected every name once"
    )


def kind_of(value: object) -> str:
    """Return what a value is, in words that are safe to show."""
    if isinstance(value, str):
        return f"the text {visible(value, 40)!r}"
    if isinstance(value, Stub):
        return f"an object of `{visible(value.name, 120)}`"
    if isinstance(value, bool | int | float):
        return f"the {type(value).__name__} {visible(value, 40)}"
    return _KINDS.get(type(value), "something else")
