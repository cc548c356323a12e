"""How the text of a setting is read: pure functions, each text -> value, raising ValueError with what is expected.

What WAL-G understands is understood alike. What WAL-G silently takes for 0 or false (`yes`, `10MB`, ` 5`) is an error.
"""

import re

TRUE_WORDS = frozenset({"1", "t", "T", "TRUE", "true", "True"})
FALSE_WORDS = frozenset({"0", "f", "F", "FALSE", "false", "False"})

# Patterns are compiled (and kept by re) when first used: most commands read plain numbers alone.
_INTEGER = r"[+-]?[0-9][0-9A-Za-z_]*"
_OCTAL = r"[+-]?0[0-7_]*[0-7]"
_DECIMALS = r"([+-]?[0-9]+)\.[0-9]*"
_DECIMAL = r"[+-]?[0-9]+"
_DURATION_PART = r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)"
_SIZE = r"([0-9]+)\s*(kb|mb|gb|b|)"
_NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"

_UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_UNIT_BYTES = {"": 1, "b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30}
_INT64_LIMIT = 1 << 63


def parse_text(text: str) -> str:
    """Any text."""
    return text


def parse_boolean(text: str) -> bool:
    """`1 t T TRUE true True` or `0 f F FALSE false False`."""
    if text in TRUE_WORDS:
        return True
    if text in FALSE_WORDS:
        return False
    raise ValueError("expected true or false")


def parse_integer(text: str) -> int:
    """A 64-bit integer as Go spells it: `0x10`, `0b1`, `010` (octal), `1_000`; decimals are cut off (`16.7` is 16)."""
    if text.isascii() and text.isdigit() and text[0] != "0":
        return _within_64_bits(int(text))
    decimals = re.fullmatch(_DECIMALS, text)
    digits = decimals[1] if decimals else text
    if not re.fullmatch(_INTEGER, digits):
        raise ValueError("expected an integer")
    try:
        number = int(digits, 8 if re.fullmatch(_OCTAL, digits) else 0)
    except ValueError:
        raise ValueError("expected an integer") from None
    return _within_64_bits(number)


def parse_decimal(text: str) -> int:
    """A 64-bit integer in plain decimal: `010` is 10."""
    if not re.fullmatch(_DECIMAL, text):
        raise ValueError("expected a decimal integer")
    return _within_64_bits(int(text))


def parse_duration(text: str) -> float:
    """Seconds of a Go duration: `300ms`, `1h2m3.5s`, `0`; every number but a lone 0 needs its unit."""
    if text in ("0", "+0", "-0"):
        return 0.0
    if not re.fullmatch(rf"[+-]?(?:{_DURATION_PART})+", text):
        raise ValueError("expected a duration with unit, such as 90s or 1h30m")
    seconds = sum(float(number) * _UNIT_SECONDS[unit] for number, unit in re.findall(_DURATION_PART, text))
    return -seconds if text.startswith("-") else seconds


def parse_size(text: str) -> int:
    """Bytes of `1048576`, `512kb`, `1mb` or `2 GB`; units are powers of 1024."""
    match = re.fullmatch(_SIZE, text, re.IGNORECASE)
    if not match:
        raise ValueError("expected a size, such as 1mb")
    return _within_64_bits(int(match[1]) * _UNIT_BYTES[match[2].lower()])


def parse_number(text: str) -> float:
    """A decimal fraction: `0.99`, `1e-3`."""
    if not re.fullmatch(_NUMBER, text):
        raise ValueError("expected a number")
    return float(text)


def _within_64_bits(number: int) -> int:
    if not -_INT64_LIMIT <= number < _INT64_LIMIT:
        raise ValueError("expected an integer of at most 64 bits")
    return number
