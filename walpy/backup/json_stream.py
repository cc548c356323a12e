"""Reads a large JSON document member by member, from chunks, without ever holding it as a whole.

Memory: a chunk of the storage and one value: the largest that value() is asked for.
"""

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Final

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_MORE: Final = 64 << 10  # characters to have in hand, at least, before a value is tried; most values are far smaller


class JsonStream:
    """One document. Every method goes on where the last one stopped. Raises ValueError for what is not JSON."""

    def __init__(self, chunks: Iterable[bytes | bytearray | memoryview]) -> None:
        self._chunks = iter(chunks)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._parse = json.JSONDecoder().raw_decode
        self._is_ended = False
        self.text = ""
        self.position = 0

    def members(self) -> Iterator[str]:
        """Names of an object's members; whoever iterates takes each one's value before the next. None for null."""
        if not self._opens("{"):
            return
        while not self._takes("}"):
            name = self.value()
            if not isinstance(name, str) or not self._takes(":"):
                raise self._error("a member's name was expected")
            yield name
            if not self._takes(","):
                if not self._takes("}"):
                    raise self._error("a comma was expected")
                return

    def elements(self) -> Iterator[object]:
        """Values of an array."""
        if not self._opens("["):
            return
        while not self._takes("]"):
            yield self.value()
            if not self._takes(","):
                if not self._takes("]"):
                    raise self._error("a comma was expected")
                return

    def value(self) -> object:
        """One value, parsed."""
        self._peek()
        wanted = _MORE
        while True:
            self.fill(wanted)
            try:
                found, end = self._parse(self.text, self.position)
            except ValueError:
                if self._is_ended:
                    raise
            else:
                if end < len(self.text) or self._is_ended:
                    self.position = end
                    return found
            wanted = 2 * (len(self.text) - self.position) + _MORE

    def skip(self, depth: int = 3) -> None:
        """Pass over one value; depth: how many levels of objects may be too large to parse as one."""
        if depth and self._peek() == "{":
            for _ in self.members():
                self.skip(depth - 1)
        else:
            self.value()

    def end(self) -> None:
        """Nothing but space may follow."""
        if self._peek():
            raise self._error("the document should end")

    def fill(self, wanted: int) -> None:
        """Have so many characters in hand, or all that are left."""
        if len(self.text) - self.position >= wanted or self._is_ended:
            return
        parts = [self.text[self.position :]]
        size = len(parts[0])
        while size < wanted and not self._is_ended:
            chunk = next(self._chunks, None)
            self._is_ended = chunk is None
            parts.append(self._decoder.decode(b"" if chunk is None else bytes(chunk), final=chunk is None))
            size += len(parts[-1])
        self.text, self.position = "".join(parts), 0

    def _opens(self, bracket: str) -> bool:
        """Whether an object or array begins here; null counts as an empty one."""
        if self._takes(bracket):
            return True
        if self.value() is not None:
            raise self._error(f"{bracket!r} was expected")
        return False

    def _takes(self, sign: str) -> bool:
        if self._peek() != sign:
            return False
        self.position += 1
        return True

    def _peek(self) -> str:
        while True:
            match = _SPACE.match(self.text, self.position)
            assert match is not None
            self.position = match.end()
            if self.position < len(self.text) or self._is_ended:
                return self.text[self.position : self.position + 1]
            self.fill(1)

    def _error(self, what: str) -> ValueError:
        return ValueError(f"{what} at {self.text[self.position : self.position + 20]!r}")
