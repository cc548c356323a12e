"""How the text of a setting is read."""

from collections.abc import Callable

import pytest

from walpy import values


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("16", 16),
        ("0", 0),
        ("-1", -1),
        ("+5", 5),
        ("0x10", 16),
        ("0X1f", 31),
        ("010", 8),
        ("0o10", 8),
        ("0b101", 5),
        ("1_000", 1000),
        ("16.7", 16),
        ("16.", 16),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_integer_as_go_spells_it(text: str, number: int) -> None:
    assert values.parse_integer(text) == number


@pytest.mark.parametrize(
    "text", ["abc", "10MB", " 5", "5 ", "", ".5", "08", "1e3", "1__0", "0x", "٣", "9223372036854775808", "9" * 5000]
)
def test_what_walg_takes_for_zero_is_no_integer(text: str) -> None:
    with pytest.raises(ValueError):
        values.parse_integer(text)


def test_decimal_knows_no_other_base() -> None:
    assert values.parse_decimal("010") == 10
    for text in ("0x10", "1_000", "16.7", "", "five"):
        with pytest.raises(ValueError, match="decimal"):
            values.parse_decimal(text)


@pytest.mark.parametrize("text", ["1", "t", "T", "TRUE", "true", "True"])
def test_true_words(text: str) -> None:
    assert values.parse_boolean(text) is True


@pytest.mark.parametrize("text", ["0", "f", "F", "FALSE", "false", "False"])
def test_false_words(text: str) -> None:
    assert values.parse_boolean(text) is False


@pytest.mark.parametrize("text", ["yes", "on", "tRUE", "2", "", " true"])
def test_other_words_are_no_booleans(text: str) -> None:
    with pytest.raises(ValueError, match="true or false"):
        values.parse_boolean(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("300ms", 0.3), ("1h2m3.5s", 3723.5), ("0", 0.0), ("90s", 90.0), ("-1m", -60.0), (".5s", 0.5), ("1µs", 1e-6)],
)
def test_duration(text: str, seconds: float) -> None:
    assert values.parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["60", "1d", "1 s", "", "s", ".s", "1h2", "--1s"])
def test_duration_needs_units(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        values.parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"), [("1mb", 1 << 20), ("512KB", 512 << 10), ("2 GB", 2 << 30), ("7b", 7), ("1048576", 1 << 20)]
)
def test_size(text: str, size: int) -> None:
    assert values.parse_size(text) == size


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (values.parse_size, "1tb"),
        (values.parse_size, "-1"),
        (values.parse_number, "half"),
        (values.parse_number, "nan"),
    ],
)
def test_no_size_no_number(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse(text)


def test_number() -> None:
    assert values.parse_number("0.99") == 0.99
    assert values.parse_number("1e-3") == 0.001
