"""An interpreter for the few pickle instructions that checkpoints use. It imports nothing and calls only the functions of a table.

Python's own unpickler runs the functions that a file names, and allocates memory for any length that a damaged file claims.
"""

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from jaxvision.weights.errors import BrokenFile, check_size


class Global(NamedTuple):
    """A function or class that the file may name, and its replacement; ``call`` None: the file must not call it."""

    name: str
    call: Callable | None = None


class _Mark:
    """Marks the beginning of a group on the stack."""


_MARK = _Mark()
_CONSTANTS = {b"N": None, b"\x88": True, b"\x89": False}
_EMPTY = {b"}": dict, b"]": list, b")": tuple}
_NUMBERS = {b"K": "<B", b"M": "<H", b"J": "<i", b"G": ">d"}  # one value of a fixed size
_SIZED = {  # instruction: bytes of the length, and how the content is read
    b"\x8c": (1, "text"),
    b"X": (4, "text"),
    b"\x8d": (8, "text"),
    b"C": (1, "bytes"),
    b"B": (4, "bytes"),
    b"\x8e": (8, "bytes"),
    b"U": (1, "latin"),
    b"T": (4, "latin"),
    b"\x8a": (1, "int"),
    b"\x8b": (4, "int"),
}
_TUPLES = {b"\x85": 1, b"\x86": 2, b"\x87": 3}


def _decoded(data: bytes, kind: str) -> Any:
    if kind == "bytes":
        return data
    if kind == "int":
        return int.from_bytes(data, "little", signed=True)
    return data.decode("utf-8" if kind == "text" else "latin-1")


def _key(key: Any) -> Any:
    """Check that a key is text or a number: hashing a deeply nested tuple would overflow the stack of the process."""
    if type(key) not in (str, int, float, bool, bytes, type(None)):
        raise BrokenFile(f"the pickle has a dictionary key of type {type(key).__name__}; expected text or a number")
    return key


class Unpickler:
    """Read consecutive pickles from ``data``. ``allowed``: {"module.name": Global}; ``persistent`` gives the storage of an id."""

    def __init__(self, data: bytes, allowed: dict[str, Global], persistent: Callable[[Any], Any]):
        self.data, self.allowed, self.persistent = data, allowed, persistent
        self.place = 0

    def load(self) -> Any:
        """The next object. Raises BrokenFile for a damaged pickle and for a name that is not allowed."""
        self.stack: list = []
        self.memo: dict = {}
        try:
            while (code := self._take(1)) != b".":
                self._step(code)
            return self.stack.pop()
        except BrokenFile:
            raise
        except (IndexError, KeyError, TypeError, ValueError, OverflowError, AttributeError, struct.error) as error:
            raise BrokenFile(f"the pickle is damaged near byte {self.place:,} ({type(error).__name__})") from None

    def _take(self, size: int) -> bytes:
        check_size(size, len(self.data) - self.place, f"the pickle at byte {self.place:,}")
        self.place += size
        return self.data[self.place - size : self.place]

    def _line(self, encoding: str = "utf-8") -> str:
        end = self.data.index(b"\n", self.place)
        return self._take(end + 1 - self.place)[:-1].decode(encoding)

    def _group(self) -> list:
        """Pop the values since the last mark."""
        start = len(self.stack) - 1
        while self.stack[start] is not _MARK:
            start -= 1
            if start < 0:
                raise IndexError
        group = self.stack[start + 1 :]
        del self.stack[start:]
        return group

    def _step(self, code: bytes) -> None:
        stack = self.stack
        if code in _CONSTANTS:
            stack.append(_CONSTANTS[code])
        elif code in _EMPTY:
            stack.append(_EMPTY[code]())
        elif code in _NUMBERS:
            stack.append(struct.unpack(_NUMBERS[code], self._take(struct.calcsize(_NUMBERS[code])))[0])
        elif code in _SIZED:
            width, kind = _SIZED[code]
            stack.append(_decoded(self._take(int.from_bytes(self._take(width), "little")), kind))
        elif code in _TUPLES:
            stack.append(tuple(self._last(_TUPLES[code])))
        elif code in _STEPS:
            _STEPS[code](self)
        else:
            raise BrokenFile(f"the pickle has an unsupported instruction {code!r} at byte {self.place - 1:,}")

    def _name(self, module: str, name: str) -> None:
        full = f"{module}.{name}"
        if full not in self.allowed:
            raise BrokenFile(f"the pickle asks for {full[:200]!r}, which weights do not need; nothing was run")
        self.stack.append(self.allowed[full])

    def _global_text(self) -> None:
        self._name(self._line(), self._line())

    def _global_stack(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if type(module) is not str or type(name) is not str:
            raise TypeError
        self._name(module, name)

    def _call(self) -> None:
        given, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Global) or function.call is None or type(given) is not tuple:
            name = function.name if isinstance(function, Global) else type(function).__name__
            raise BrokenFile(f"the pickle calls {name!r}, which is not allowed")
        self.stack.append(function.call(*given))

    def _build(self) -> None:
        """Set the state of an array or numpy type; the state of a dictionary (``_metadata``) is discarded."""
        state = self.stack.pop()
        if hasattr(self.stack[-1], "restore"):
            self.stack[-1].restore(state)
        elif type(self.stack[-1]) is not dict:
            raise BrokenFile(f"the pickle sets the state of a {type(self.stack[-1]).__name__}")

    def _get(self, size: int) -> None:
        self.stack.append(self.memo[int.from_bytes(self._take(size), "little")])

    def _put(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    def _items(self, group: list) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(group) % 2:
            raise BrokenFile("the pickle sets items of something other than a dictionary")
        for key, value in zip(group[::2], group[1::2]):
            target[_key(key)] = value

    def _extend(self, group: list) -> None:
        if type(self.stack[-1]) is not list:
            raise BrokenFile("the pickle appends to something other than a list")
        self.stack[-1].extend(group)

    def _dictionary(self) -> None:
        group = self._group()
        self.stack.append({})
        self._items(group)

    def _text_number(self, kind: type) -> None:
        line = self._line().rstrip("L")
        self.stack.append({"01": True, "00": False}[line] if line in ("01", "00") else kind(line))

    def _last(self, count: int) -> list:
        group = self.stack[-count:]
        if len(group) < count:
            raise IndexError
        del self.stack[-count:]
        return group


_STEPS = {
    b"\x80": lambda reader: reader._take(1),  # protocol
    b"\x95": lambda reader: reader._take(8),  # length of a frame
    b"(": lambda reader: reader.stack.append(_MARK),
    b"0": lambda reader: reader.stack.pop(),
    b"2": lambda reader: reader.stack.append(reader.stack[-1]),
    b"t": lambda reader: reader.stack.append(tuple(reader._group())),
    b"l": lambda reader: reader.stack.append(reader._group()),
    b"d": lambda reader: reader._dictionary(),
    b"s": lambda reader: reader._items(reader._last(2)),
    b"u": lambda reader: reader._items(reader._group()),
    b"a": lambda reader: reader._extend([reader.stack.pop()]),
    b"e": lambda reader: reader._extend(reader._group()),
    b"c": Unpickler._global_text,
    b"\x93": Unpickler._global_stack,
    b"R": Unpickler._call,
    b"\x81": Unpickler._call,
    b"b": Unpickler._build,
    b"Q": lambda reader: reader.stack.append(reader.persistent(reader.stack.pop())),
    b"q": lambda reader: reader._put(reader._take(1)[0]),
    b"r": lambda reader: reader._put(int.from_bytes(reader._take(4), "little")),
    b"p": lambda reader: reader._put(int(reader._line())),
    b"\x94": lambda reader: reader._put(len(reader.memo)),
    b"h": lambda reader: reader._get(1),
    b"j": lambda reader: reader._get(4),
    b"g": lambda reader: reader.stack.append(reader.memo[int(reader._line())]),
    b"V": lambda reader: reader.stack.append(reader._line("raw-unicode-escape")),
    b"I": lambda reader: reader._text_number(int),
    b"L": lambda reader: reader._text_number(int),
    b"F": lambda reader: reader._text_number(float),
}
