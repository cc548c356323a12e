"""JSON as Go's encoding/json writes and reads it: WAL-G's objects are compared and parsed by that code.

Written without spaces and final newline. Two dialects: `v1` (sentinel, metadata.json) escapes `<`, `>`, `&` and the two
Unicode line separators, `v2` (files_metadata.json) does not. Field names are matched without regard to case on reading.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Final, TypeVar, cast

from walpy.backup.timestamp import ZERO_TIME, Timestamp
from walpy.errors import BackupError, DataCorrupt

Kind = TypeVar("Kind")

_ESCAPES: Final = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|\{\}|\[\]|[{}\[\],:]|[^{}\[\],:"]+')
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def text_v1(text: str) -> str:
    """A string literal, escaped for HTML; what is not Unicode becomes the replacement character."""
    return _SURROGATE.sub(r"\\ufffd", encode_basestring(text).translate(_ESCAPES))


def text_v2(text: str) -> str:
    """A string literal without HTML escapes. Raises BackupError for text that is no Unicode (an undecodable name)."""
    if _SURROGATE.search(text):
        raise BackupError(f"name is not valid UTF-8 and cannot be recorded: {text!r}", "Rename or remove the file.")
    return encode_basestring(text)


def texts_v2(texts: Sequence[str]) -> list[str]:
    """String literals as text_v2's, of many texts quickly."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return list(map(text_v2, texts))  # tells which one it is
    return list(map(encode_basestring, texts))


def number(value: float) -> str:
    """A number as Go formats a float64: the shortest digits, an exponent below 1e-6 and from 1e21 on."""
    value = float(value)
    if value != value or value in (float("inf"), float("-inf")):
        raise BackupError(f"not a JSON number: {value!r}")
    if value == 0:
        return "-0" if str(value).startswith("-") else "0"
    if 1e-6 <= abs(value) < 1e21:
        digits = format(Decimal(repr(value)), "f")
        return digits.rstrip("0").rstrip(".") if "." in digits else digits
    mantissa, _, exponent = format(Decimal(repr(value)).normalize(), "e").partition("e")
    return f"{mantissa}e{int(exponent):+d}"


def free_value(value: object) -> str:
    """Any JSON value of a user, v1: keys sorted, every number through a float64, as in Go's interface values."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return text_v1(value)
    if isinstance(value, int | float):
        try:
            return number(value)
        except OverflowError as error:
            raise BackupError(f"number does not fit a float64: {str(value)[:40]}") from error
    if isinstance(value, Mapping):
        members = sorted(cast("Mapping[str, object]", value).items())
        return "{" + ",".join(f"{text_v1(key)}:{free_value(member)}" for key, member in members) + "}"
    if isinstance(value, Sequence):
        return "[" + ",".join(free_value(member) for member in value) + "]"
    raise BackupError(f"not a JSON value: {type(value).__name__}")


def indented(text: str, width: int) -> str:
    """Compact JSON text spread over lines, as Go's MarshalIndent does; every token stays as it is."""
    out: list[str] = []
    depth = 0
    for token in _TOKEN.findall(text):
        if token in ("{", "["):
            depth += 1
            out.append(f"{token}\n{' ' * width * depth}")
        elif token in ("}", "]"):
            depth -= 1
            out.append(f"\n{' ' * width * depth}{token}")
        elif token == ",":
            out.append(f",\n{' ' * width * depth}")
        else:
            out.append(": " if token == ":" else token)
    return "".join(out)


def same_value(left: object, right: object) -> bool:
    """Deep equality of parsed JSON as Go sees it: numbers are float64, true is no number."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, int | float) and isinstance(right, int | float):
        return _as_float(left) == _as_float(right)
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same_value(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same_value, left, right))
    return type(left) is type(right) and left == right


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")


Hook = Callable[[dict[str, object]], object]  # what to have in place of an object, as soon as it is parsed


def parse(data: bytes | str, hook: Hook | None = None) -> object:
    """A JSON value; `-0` is the float that Go makes of it, so that it is written again as it was. Raises ValueError."""
    return json.loads(data, parse_int=_integer, object_hook=hook)


def _integer(text: str) -> int | float:
    return -0.0 if text == "-0" else int(text)


def parse_object(data: bytes | str, what: str, hook: Hook | None = None) -> "Fields":
    """Parse one JSON object. Raises DataCorrupt, naming what, for anything else."""
    try:
        document = parse(data, hook)
    except (ValueError, RecursionError) as error:
        raise DataCorrupt(f"{what} is not JSON: {error}") from error
    return Fields(document, what)


class Fields:
    """The members of a JSON object, taken one by one; what nobody took is the rest.

    A missing or null member reads as its type's zero value, a wrong type raises DataCorrupt.
    """

    def __init__(self, document: object, what: str) -> None:
        if not isinstance(document, dict):
            raise DataCorrupt(f"{what} is not a JSON object")
        self._members: dict[str, object] = document
        self._names: dict[str, str] | None = None  # lower-case to real name, built when a name is not found as it is
        self._taken: set[str] = set()
        self._what = what

    def value(self, name: str) -> object:
        """Whatever the member holds; None when it is absent."""
        if name not in self._members:
            if self._names is None:
                self._names = {key.lower(): key for key in self._members}
            name = self._names.get(name.lower(), name)
        self._taken.add(name)
        return self._members.get(name)

    def rest(self) -> dict[str, object]:
        """Members that no other method asked for, in their order."""
        return {name: value for name, value in self._members.items() if name not in self._taken}

    def text(self, name: str) -> str:
        """A string."""
        return self._typed(name, str) or ""

    def optional_text(self, name: str) -> str | None:
        """A string or null."""
        return self._typed(name, str)

    def boolean(self, name: str) -> bool:
        """A truth value."""
        return self._typed(name, bool) or False

    def integer(self, name: str, *, bits: int = 64, signed: bool = True) -> int:
        """An integer that fits the width."""
        return self.optional_integer(name, bits=bits, signed=signed) or 0

    def optional_integer(self, name: str, *, bits: int = 64, signed: bool = False) -> int | None:
        """An integer that fits the width, or null."""
        value = self._typed(name, int)
        if value is None:
            return None
        low, high = (-(1 << (bits - 1)), 1 << (bits - 1)) if signed else (0, 1 << bits)
        if not low <= value < high:
            raise DataCorrupt(f"{self._what}: {name} is out of range: {value}")
        return value

    def timestamp(self, name: str) -> Timestamp:
        """An RFC 3339 time."""
        text = self._typed(name, str)
        if text is None:
            return ZERO_TIME
        try:
            return Timestamp.parse(text)
        except ValueError as error:
            raise DataCorrupt(f"{self._what}: {name} is {error}") from error

    def fields(self, name: str) -> "Fields":
        """An object; empty when absent."""
        value = self.value(name)
        return Fields({} if value is None else value, f"{self._what}: {name}")

    def optional_fields(self, name: str) -> "Fields | None":
        """An object or null."""
        value = self.value(name)
        return None if value is None else Fields(value, f"{self._what}: {name}")

    def texts(self, name: str) -> tuple[str, ...]:
        """An array of strings."""
        values = self._typed(name, list) or []
        if not all(isinstance(value, str) for value in values):
            raise DataCorrupt(f"{self._what}: {name} is not an array of strings")
        return tuple(values)

    def integers(self, name: str) -> tuple[int, ...]:
        """An array of unsigned integers."""
        values = self._typed(name, list) or []
        if not all(type(value) is int and value >= 0 for value in values):
            raise DataCorrupt(f"{self._what}: {name} is not an array of unsigned integers")
        return tuple(values)

    def names(self) -> tuple[str, ...]:
        """Names of all members, in their order."""
        return tuple(self._members)

    def items(self) -> Iterable[tuple[str, object]]:
        """All members as they were parsed, in their order."""
        return self._members.items()

    def _typed(self, name: str, kind: type[Kind]) -> Kind | None:
        value = self.value(name)
        if value is None:
            return None
        if type(value) is not kind:
            raise DataCorrupt(f"{self._what}: {name} is not of type {kind.__name__}")
        return value
