"""File name patterns as Go's filepath.Match reads them, for `backup-fetch --mask`."""

import re

from walpy.errors import UsageError


def compile_mask(pattern: str) -> re.Pattern[str]:
    """A regular expression for fullmatch. `*` and `?` stop at a slash, `[a-z]`, `[^x]` and `\\c` are understood.

    Raises UsageError for a malformed pattern.
    """
    out, position = [], 0
    while position < len(pattern):
        char = pattern[position]
        position += 1
        if char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "[":
            text, position = _character_class(pattern, position)
            out.append(text)
        else:
            if char == "\\":
                char, position = _character(pattern, position - 1)
            out.append(re.escape(char))
    return re.compile("".join(out), re.DOTALL)


def _character_class(pattern: str, position: int) -> tuple[str, int]:
    """Translate what follows `[`; also return the position behind the `]`."""
    negated = pattern[position : position + 1] == "^"
    position += negated
    ranges: list[str] = []
    while pattern[position : position + 1] != "]" or not ranges:
        low, position = _class_character(pattern, position)
        high = low
        if pattern[position : position + 1] == "-":
            high, position = _class_character(pattern, position + 1)
        if low <= high:
            ranges.append(f"{re.escape(low)}-{re.escape(high)}")
        else:
            ranges.append("")  # Go accepts a range that nothing is in
    inside = "".join(ranges)
    if not inside:
        return (r"[\s\S]" if negated else r"[^\s\S]"), position + 1
    return f"[{'^' if negated else ''}{inside}]", position + 1


def _class_character(pattern: str, position: int) -> tuple[str, int]:
    if pattern[position : position + 1] in ("", "-", "]"):
        raise UsageError(f"malformed mask {pattern!r}", "A bracket needs characters or ranges and a closing bracket.")
    return _character(pattern, position)


def _character(pattern: str, position: int) -> tuple[str, int]:
    """One character, escaped by a backslash or not, and the position behind it."""
    position += pattern[position] == "\\"
    if position >= len(pattern):
        raise UsageError(f"malformed mask {pattern!r}", "A backslash needs a character after it.")
    return pattern[position], position + 1
