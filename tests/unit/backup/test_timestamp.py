"""Times as WAL-G writes them."""

import pytest

from walpy.backup.timestamp import ZERO_TIME, Timestamp


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T19:10:32Z",
        "2026-11-21T19:10:32.5Z",
        "2026-11-21T22:10:32.123456789+03:00",
        "2026-11-21T15:40:32.000000001-03:30",
        "1969-12-31T23:59:59.9Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
    ],
)
def test_text_round_trips(text: str) -> None:
    assert Timestamp.parse(text).rfc3339_ns() == text


def test_the_same_instant_in_two_zones_has_one_number() -> None:
    assert Timestamp.parse("2026-11-21T22:10:32+03:00").ns == Timestamp.parse("2026-11-21T19:10:32Z").ns


def test_shorter_forms() -> None:
    moment = Timestamp.parse("2026-11-21T19:10:32.999Z")
    assert moment.rfc3339() == "2026-11-21T19:10:32Z"
    assert moment.rfc850() == "Saturday, 21-Nov-26 19:10:32 UTC"
    east = Timestamp(moment.ns, 9 * 3600)
    assert east.rfc850("JST") == "Sunday, 22-Nov-26 04:10:32 JST"
    assert east.rfc850() == "Sunday, 22-Nov-26 04:10:32 +0900"


def test_zero_means_unknown() -> None:
    assert ZERO_TIME.is_zero
    assert ZERO_TIME.rfc3339_ns() == "0001-01-01T00:00:00Z"
    assert not Timestamp(0).is_zero


@pytest.mark.parametrize(
    "text", ["", "2026-11-21", "2026-11-21T19:10:32", "2026-13-01T00:00:00Z", "2026-01-01T24:00:00Z"]
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Timestamp.parse(text)
