"""The stack machine: walks the opcodes of a pickle and builds inert values.

It differs from Python's own in that there is nothing it could call. Opcodes that weight
files do not need are refused, also where they would be harmless.

Source:
    CPython, `Lib/pickletools.py` (the meaning of every opcode).
"""

import struct
from collections.abc import Callable
from typing import Final, TypeAlias

from release.formats.pickled.allowed import Names
from release.formats.pickled.rebuild import call, persistent_storage
from release.formats.pickled.values import Dict, Function, Storage, Stub, Tensor
from release.formats.refused import RefusedError

_OPCODES_MAX: Final = 5_000_000
_MEMO_MAX: Final = 2_000_000
_STRING_NBYTES_MAX: Final = 2**20
_LONG_NBYTES_MAX: Final = 16
_PROTOCOL_MAX: Final = 3
_STOP: Final = ord(".")

_FORBIDDEN: Final = {
    ord("I"): "INT", ord("L"): "LONG", ord("S"): "STRING", ord("T"): "BINSTRING",
    ord("V"): "UNICODE", ord("F"): "FLOAT", ord("B"): "BINBYTES",
    ord("C"): "SHORT_BINBYTES", ord("1"): "POP_MARK", ord("2"): "DUP",
    ord("P"): "PERSID", ord("d"): "DICT", ord("l"): "LIST", ord("i"): "INST",
    ord("o"): "OBJ", ord("p"): "PUT", ord("g"): "GET", 0x81: "NEWOBJ", 0x82: "EXT1",
    0x83: "EXT2", 0x84: "EXT4", 0x8B: "LONG4", 0x8C: "SHORT_BINUNICODE",
    0x8D: "BINUNICODE8", 0x8E: "BINBYTES8", 0x90: "ADDITEMS", 0x91: "FROZENSET",
    0x92: "NEWOBJ_EX", 0x93: "STACK_GLOBAL", 0x94: "MEMOIZE", 0x95: "FRAME",
    0x96: "BYTEARRAY8", 0x97: "NEXT_BUFFER", 0x98: "READONLY_BUFFER",
}  # fmt: skip


_Handler: TypeAlias = Callable[[], object]


class Machine:
    """One pickle being walked.

    Args:
        data: The pickle.
        names: What its names mean.

    Attributes:
        tensors: Every tensor that was made, in order.
        storages: Every storage that was named, by key.
        locations: Every device that was named.
    """

    def __init__(self, data: bytes, names: Names) -> None:
        self.tensors: list[Tensor] = []
        self.storages: dict[str, Storage] = {}
        self.locations: set[str] = set()
        self._data = data
        self._names = names
        self._position = 0
        self._at = 0
        self._stack: list[object] = []
        self._below: list[list[object]] = []
        self._memo: dict[int, object] = {}
        self._handlers = {**self._for_values(), **self._for_the_rest()}

    def run(self) -> object:
        """Walk to the STOP opcode and return the value left on the stack.

        Raises:
            RefusedError: `opcode`, `pickle`, `pickle-size`, or as for `call` and
                `persistent_storage`.
        """
        data, handlers = self._data, self._handlers
        for _ in range(_OPCODES_MAX):
            self._at = self._position
            if self._at >= len(data):
                raise self._fault("ends without STOP")
            opcode = data[self._at]
            self._position += 1
            if opcode == _STOP:
                return self._stop()
            handler = handlers.get(opcode)
            if handler is None:
                raise self._bad_opcode(opcode)
            handler()
        raise RefusedError(
            "pickle-size", f"data.pkl has more than {_OPCODES_MAX:,} opcodes"
        )

    def _stop(self) -> object:
        top = self._pop()
        if self._stack or self._below:
            raise self._fault("leaves values on its stack")
        if self._position != len(self._data):
            raise self._fault(
                f"is followed by {len(self._data) - self._position:,} bytes"
            )
        return top

    def _fault(self, reason: str, code: str = "pickle") -> RefusedError:
        return RefusedError(code, f"data.pkl {reason} (at byte {self._at})")

    def _bad_opcode(self, opcode: int) -> RefusedError:
        if opcode in _FORBIDDEN:
            return self._fault(
                f"uses the opcode {_FORBIDDEN[opcode]}, which weights do not need and "
                f"krelease did not run",
                "opcode",
            )
        return self._fault(f"holds 0x{opcode:02x}, which is no opcode")

    def _take(self, count: int) -> bytes:
        begin, self._position = self._position, self._position + count
        if self._position > len(self._data):
            raise self._fault("ends within an opcode")
        return self._data[begin : self._position]

    def _unsigned(self, count: int) -> int:
        return int.from_bytes(self._take(count), "little")

    def _pop(self) -> object:
        if not self._stack:
            raise self._fault("takes a value from an empty stack")
        return self._stack.pop()

    def _top(self) -> object:
        if not self._stack:
            raise self._fault("needs a value on an empty stack")
        return self._stack[-1]

    def _pop_to_mark(self) -> list[object]:
        if not self._below:
            raise self._fault("lacks a mark")
        items, self._stack = self._stack, self._below.pop()
        return items

    def _mark(self) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _push(self, value: object) -> None:
        self._stack.append(value)

    def _proto(self) -> None:
        protocol = self._unsigned(1)
        if protocol > _PROTOCOL_MAX:
            raise self._fault(
                f"is of protocol {protocol}, expected at most {_PROTOCOL_MAX}", "opcode"
            )

    def _long(self) -> None:
        count = self._unsigned(1)
        if count > _LONG_NBYTES_MAX:
            raise self._fault(f"holds an integer of {count} bytes")
        self._push(int.from_bytes(self._take(count), "little", signed=True))

    def _signed(self) -> None:
        self._push(int.from_bytes(self._take(4), "little", signed=True))

    def _float(self) -> None:
        self._push(struct.unpack(">d", self._take(8))[0])

    def _text(self, count: int) -> None:
        if count > len(self._data) - self._position:
            raise self._fault(f"claims a string of {count:,} bytes")
        if count > _STRING_NBYTES_MAX:
            raise self._fault(f"holds a string of {count:,} bytes", "pickle-size")
        try:
            self._push(self._take(count).decode("utf-8", "surrogatepass"))
        except UnicodeDecodeError:
            raise self._fault("holds a string that is not UTF-8") from None

    def _tuple(self, count: int) -> None:
        if len(self._stack) < count:
            raise self._fault("takes a value from an empty stack")
        self._stack[-count:] = [tuple(self._stack[-count:])]

    def _add_to_list(self, items: list[object]) -> None:
        target = self._top()
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Stub):
            raise self._fault("appends to what is no list")

    def _add_to_dict(self, items: list[object]) -> None:
        target = self._top()
        if len(items) % 2:
            raise self._fault("sets a key without a value")
        if isinstance(target, Dict):
            target.pairs.extend(zip(items[::2], items[1::2], strict=True))
        elif not isinstance(target, Stub):
            raise self._fault("sets items of what is no dictionary")

    def _append(self) -> None:
        self._add_to_list([self._pop()])

    def _set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._add_to_dict([key, value])

    def _put(self, count: int) -> None:
        self._memo[self._unsigned(count)] = self._top()
        if len(self._memo) > _MEMO_MAX:
            raise self._fault(
                f"memorises more than {_MEMO_MAX:,} values", "pickle-size"
            )

    def _get(self, count: int) -> None:
        number = self._unsigned(count)
        if number not in self._memo:
            raise self._fault(f"recalls value {number:,}, which was never memorised")
        self._push(self._memo[number])

    def _global(self) -> None:
        lines: list[str] = []
        for _ in range(2):
            end = self._data.find(b"\n", self._position)
            if end < 0:
                raise self._fault("ends within a name")
            raw = self._data[self._position : min(end, self._position + 1024)]
            lines.append(raw.decode("utf-8", "backslashreplace"))
            self._position = end + 1
        self._push(self._names.resolve(".".join(lines), self._at))

    def _reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        if isinstance(function, Stub):
            self._push(Stub(function.name, is_foreign=function.is_foreign))
            return
        if not isinstance(function, Function) or not isinstance(arguments, tuple):
            raise self._fault("calls what is no function")
        result = call(function, arguments, self._at)
        if isinstance(result, Tensor) and function is not Function.PARAMETER:
            self.tensors.append(result)
        self._push(result)

    def _build(self) -> None:
        state, target = self._pop(), self._top()
        if isinstance(target, Stub):
            return
        if not isinstance(target, Dict) or not target.is_ordered:
            raise self._fault("sets attributes of what has none")
        if not isinstance(state, Dict):
            raise self._fault("sets attributes from what is no dictionary")

    def _persistent(self) -> None:
        storage, location = persistent_storage(self._pop(), self._at)
        known = self.storages.setdefault(storage.key, storage)
        if known != storage:
            raise self._fault(
                f"describes storage {storage.key} twice: {known.numel:,} of "
                f"{known.type.name} and {storage.numel:,} of {storage.type.name}",
                "dtype",
            )
        self.locations.add(location)
        self._push(known)

    def _for_values(self) -> dict[int, _Handler]:
        """Return what to do for opcodes that push a value of their own."""
        return {
            ord("N"): lambda: self._push(None),
            0x88: lambda: self._push(True),
            0x89: lambda: self._push(False),
            ord("J"): self._signed,
            ord("K"): lambda: self._push(self._unsigned(1)),
            ord("M"): lambda: self._push(self._unsigned(2)),
            0x8A: self._long,
            ord("G"): self._float,
            ord("X"): lambda: self._text(self._unsigned(4)),
            ord("U"): lambda: self._text(self._unsigned(1)),
            ord("}"): lambda: self._push(Dict(is_ordered=False)),
            ord("]"): lambda: self._push([]),
            ord(")"): lambda: self._push(()),
            0x8F: lambda: self._push(frozenset()),
            ord("c"): self._global,
        }

    def _for_the_rest(self) -> dict[int, _Handler]:
        """Return what to do for opcodes that work on what was pushed."""
        return {
            0x80: self._proto,
            ord("("): self._mark,
            ord("0"): self._pop,
            ord("t"): lambda: self._push(tuple(self._pop_to_mark())),
            0x85: lambda: self._tuple(1),
            0x86: lambda: self._tuple(2),
            0x87: lambda: self._tuple(3),
            ord("a"): self._append,
            ord("e"): lambda: self._add_to_list(self._pop_to_mark()),
            ord("s"): self._set_item,
            ord("u"): lambda: self._add_to_dict(self._pop_to_mark()),
            ord("q"): lambda: self._put(1),
            ord("r"): lambda: self._put(4),
            ord("h"): lambda: self._get(1),
            ord("j"): lambda: self._get(4),
            ord("R"): self._reduce,
            ord("b"): self._build,
            ord("Q"): self._persistent,
        }
