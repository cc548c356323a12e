"""Go's gob encoding, as far as catchup-send and catchup-receive speak it: numbers, text, bytes, structs, slices, maps.

A stream is a row of messages, each with its length in front; one defines a type, or holds one value. Structs are dicts
by the names of their fields here, in which absent fields are zero; types that encode themselves (time.Time) are bytes.

Memory of a decoder: one message of at most LARGEST_MESSAGE bytes, and what is made of it.
Source: https://pkg.go.dev/encoding/gob
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from walpy.errors import DataCorrupt

LARGEST_MESSAGE: Final = 256 << 20  # bytes; a list of two million files
BOOL, INT, UINT, FLOAT, BYTES, STRING = 1, 2, 3, 4, 5, 6  # ids of the types that every stream knows
_FIRST_ID: Final = 65  # of the types that a stream defines
_DEEPEST: Final = 16  # values within values; ours have three


class Struct(NamedTuple):
    """A struct type: its Go name, and its fields in their order."""

    name: str
    fields: "tuple[tuple[str, Type], ...]"


class Slice(NamedTuple):
    """A slice type."""

    element: "Type"


class Map(NamedTuple):
    """A map type."""

    name: str
    key: "Type"
    element: "Type"


class Opaque(NamedTuple):
    """A type that encodes itself into bytes."""

    name: str


Type = int | Struct | Slice | Map | Opaque
Read = Callable[[int], bytes]  # exactly so many bytes of the stream; raises when it ends


# The types of definitions themselves; a definition is a struct with one field that is not zero.
_COMMON: Final = Struct("CommonType", (("Name", STRING), ("Id", INT)))
_FIELD: Final = Struct("fieldType", (("Name", STRING), ("Id", INT)))
_DEFINITION: Final = Struct(
    "wireType",
    (
        ("ArrayT", Struct("arrayType", (("CommonType", _COMMON), ("Elem", INT), ("Len", INT)))),
        ("SliceT", Struct("sliceType", (("CommonType", _COMMON), ("Elem", INT)))),
        ("StructT", Struct("structType", (("CommonType", _COMMON), ("Field", Slice(_FIELD))))),
        ("MapT", Struct("mapType", (("CommonType", _COMMON), ("Key", INT), ("Elem", INT)))),
        ("GobEncoderT", Struct("gobEncoderType", (("CommonType", _COMMON),))),
        ("BinaryMarshalerT", Struct("gobEncoderType", (("CommonType", _COMMON),))),
        ("TextMarshalerT", Struct("gobEncoderType", (("CommonType", _COMMON),))),
    ),
)


# ---- writing


class Encoder:
    """Makes the messages of one stream; it defines a type when it is first used."""

    def __init__(self) -> None:
        self._ids: dict[Type, int] = {}

    def encode(self, kind: Type, value: Any) -> bytes:
        """The messages of a value of a type."""
        definitions: list[bytes] = []
        number = self._id(kind, definitions)
        body = _value(kind, value) if isinstance(kind, Struct) else b"\0" + _value(kind, value)
        return b"".join([*definitions, message(_int(number) + body)])

    def _id(self, kind: Type, definitions: list[bytes]) -> int:
        if isinstance(kind, int):
            return kind
        known = self._ids.get(kind)
        if known is not None:
            return known
        number = self._ids[kind] = _FIRST_ID + len(self._ids)
        definition = _value(_DEFINITION, self._definition(kind, number, definitions))
        definitions.append(message(_int(-number) + definition))
        return number

    def _definition(self, kind: Type, number: int, definitions: list[bytes]) -> Mapping[str, object]:
        common = {"Name": getattr(kind, "name", ""), "Id": number}
        if isinstance(kind, Struct):
            fields = [{"Name": name, "Id": self._id(field, definitions)} for name, field in kind.fields]
            return {"StructT": {"CommonType": common, "Field": fields}}
        if isinstance(kind, Slice):
            return {"SliceT": {"CommonType": common, "Elem": self._id(kind.element, definitions)}}
        if isinstance(kind, Map):
            key, element = self._id(kind.key, definitions), self._id(kind.element, definitions)
            return {"MapT": {"CommonType": common, "Key": key, "Elem": element}}
        return {"GobEncoderT": {"CommonType": common}}


def message(body: bytes) -> bytes:
    """A message with its length in front."""
    return _uint(len(body)) + body


def _uint(number: int) -> bytes:
    if number < 0x80:
        return bytes([number])
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return bytes([0x100 - len(data)]) + data


def _int(number: int) -> bytes:
    return _uint(~number << 1 | 1 if number < 0 else number << 1)


def _value(kind: Type, value: Any) -> bytes:
    if isinstance(kind, Struct):
        return _struct(kind, value)
    if isinstance(kind, Slice):
        return _uint(len(value)) + b"".join(_value(kind.element, item) for item in value)
    if isinstance(kind, Map):
        items = (_value(kind.key, key) + _value(kind.element, item) for key, item in value.items())
        return _uint(len(value)) + b"".join(items)
    if kind in (BOOL, UINT):
        return _uint(int(value))
    if kind == INT:
        return _int(value)
    data = value.encode("utf-8", "surrogateescape") if kind == STRING else bytes(value)
    return _uint(len(data)) + data


def _struct(kind: Struct, value: Mapping[str, object]) -> bytes:
    parts = []
    last = -1
    for place, (name, field) in enumerate(kind.fields):
        item = value.get(name)
        if item:
            parts += [_uint(place - last), _value(field, item)]
            last = place
    return b"".join(parts) + b"\0"


# ---- reading


class Decoder:
    """Reads the values of one stream. read: gives exactly so many of its bytes.

    Raises DataCorrupt for what is no gob, and for what no sender or receiver sends; what read raises.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._types: dict[int, Type | Mapping[str, Any]] = {}

    def decode(self) -> Any:
        """The next value."""
        while True:
            data = self._read(self._length())
            try:
                value = _Cursor(data, self._types).value_or_definition()
            except (IndexError, ValueError, KeyError, TypeError, RecursionError) as error:
                raise DataCorrupt(f"no gob message: {error}") from None
            if value is not _DEFINED:
                return value

    def _length(self) -> int:
        first = self._read(1)[0]
        if first < 0x80:
            length = first
        else:
            length = int.from_bytes(self._read(_byte_count(first)), "big")
        if length > LARGEST_MESSAGE:
            raise DataCorrupt(f"a message of {length} bytes")
        return length


_DEFINED: Final = object()


def _byte_count(first: int) -> int:
    count = 0x100 - first
    if count > 8:
        raise DataCorrupt("no gob stream: a number of more than 64 bits")
    return count


class _Cursor:
    """A place in one message."""

    def __init__(self, data: bytes, types: dict[int, Any]) -> None:
        self._data = data
        self._place = 0
        self._types = types

    def value_or_definition(self) -> Any:
        number = self._int()
        if number < 0:
            self._types[-number] = self._struct(_DEFINITION.fields, 0)
            self._check_end()
            return _DEFINED
        is_struct = number in self._types and "StructT" in self._types[number]
        if not is_struct and self._uint() != 0:
            raise ValueError("a value without its mark")
        value = self._value(number, 0)
        self._check_end()
        return value

    def _check_end(self) -> None:
        if self._place != len(self._data):
            raise ValueError("bytes behind the value")

    def _value(self, kind: Type, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("values within values without end")
        if isinstance(kind, Struct):
            return self._struct(kind.fields, depth + 1)
        if isinstance(kind, Slice):
            return [self._value(kind.element, depth + 1) for _ in range(self._count())]
        if kind == BOOL:
            return bool(self._uint())
        if kind == UINT:
            return self._uint()
        if kind == INT:
            return self._int()
        if kind == BYTES:
            return self._bytes()
        if kind == STRING:
            return self._bytes().decode("utf-8", "surrogateescape")
        return self._defined(self._types[kind], depth)  # type: ignore[index]  # a KeyError is told as such

    def _defined(self, definition: Mapping[str, Any], depth: int) -> Any:
        if "StructT" in definition:
            fields = definition["StructT"].get("Field", [])
            return self._struct([(field.get("Name", ""), field.get("Id", 0)) for field in fields], depth + 1)
        if "SliceT" in definition:
            element = definition["SliceT"]["Elem"]
            return [self._value(element, depth + 1) for _ in range(self._count())]
        if "MapT" in definition:
            key, element = definition["MapT"]["Key"], definition["MapT"]["Elem"]
            return {self._value(key, depth + 1): self._value(element, depth + 1) for _ in range(self._count())}
        if "ArrayT" in definition:
            raise ValueError("an array")
        return self._bytes()  # it encodes itself

    def _struct(self, fields: "Sequence[tuple[str, Type]]", depth: int) -> dict[str, Any]:
        value: dict[str, Any] = {}
        place = -1
        while step := self._uint():
            place += step
            name, kind = fields[place]
            value[name] = self._value(kind, depth + 1)
        return value

    def _count(self) -> int:
        count = self._uint()
        if count > len(self._data) - self._place:  # an element takes a byte at least
            raise ValueError("more elements than bytes")
        return count

    def _bytes(self) -> bytes:
        count = self._uint()
        start, self._place = self._place, self._place + count
        if self._place > len(self._data):
            raise ValueError("a value that ends behind its message")
        return self._data[start : self._place]

    def _uint(self) -> int:
        first = self._data[self._place]
        self._place += 1
        if first < 0x80:
            return first
        start, self._place = self._place, self._place + _byte_count(first)
        if self._place > len(self._data):
            raise ValueError("a number that ends behind its message")
        return int.from_bytes(self._data[start : self._place], "big")

    def _int(self) -> int:
        number = self._uint()
        return ~(number >> 1) if number & 1 else number >> 1
