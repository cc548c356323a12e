"""What a command line asks of the WAL commands that run without the rest of the command line (cli)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from walpy import client
from walpy.config import split_setting_flags
from walpy.errors import UsageError

ARGUMENT_COUNTS = {**client.ARGUMENT_COUNTS, "wal-prefetch": 2}
TARGET_STORAGE = "--target-storage"


class Request(NamedTuple):
    """One of these commands, as asked for."""

    command: str
    arguments: Sequence[str]
    flags: Mapping[str, str]
    config_path: str


def parse(argv: Sequence[str]) -> Request | None:
    """What is asked for; None when the command line is cli's to answer."""
    try:
        rest, flags, config_path = split_setting_flags(argv)
    except UsageError:
        return None
    plain: list[str] = []
    words = iter(rest)
    for word in words:
        name, equals, value = word.partition("=")
        if name == TARGET_STORAGE:
            value = value if equals else next(words, "")
            if not value:
                return None
            flags["WALG_TARGET_STORAGE"] = value
        elif word.startswith("-"):
            return None
        else:
            plain.append(word)
    if not plain or ARGUMENT_COUNTS.get(plain[0]) != len(plain) - 1:
        return None
    return Request(plain[0], plain[1:], flags, config_path)
