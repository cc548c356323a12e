"""Positions in the WAL as text."""

import re
from typing import NewType

from walpy.errors import InvalidWal

Lsn = NewType("Lsn", int)

_LSN = re.compile("([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")


def parse_lsn(text: str) -> Lsn:
    """Position of `16/B374D848`. Raises InvalidWal when text has another shape."""
    match = _LSN.fullmatch(text)
    if match is None:
        raise InvalidWal(f"not a WAL position: {text!r}")
    return Lsn(int(match[1], 16) << 32 | int(match[2], 16))


def format_lsn(lsn: int) -> str:
    """Text of a position as PostgreSQL prints it: two hex numbers without padding."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
