"""Points in time as WAL-G stores and prints them: nanoseconds and the UTC offset they were written with."""

import functools
import re
import time
from datetime import date as calendar_date
from typing import Final, NamedTuple, Self

_SECOND: Final = 1_000_000_000  # nanoseconds
_RFC3339: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})T(\d{2}):(\d{2}):(\d{2})(?:[.,](\d+))?(?:Z|([+-])(\d{2}):(\d{2}))", re.ASCII
)
_ZERO_SECONDS: Final = -62_135_596_800  # 0001-01-01T00:00:00Z, the zero value of Go's time.Time
_EPOCH_ORDINAL: Final = calendar_date(1970, 1, 1).toordinal()
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Timestamp(NamedTuple):
    """An instant; utc_offset_seconds changes how it is written, not when it is. Compare instants by ns."""

    ns: int  # since the epoch
    utc_offset_seconds: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read RFC 3339. Raises ValueError for another shape or an impossible date."""
        match = _RFC3339.fullmatch(text)
        if match is None:
            raise ValueError(f"not an RFC 3339 time: {text!r}")
        date, hours, minutes, seconds, fraction, sign, offset_hours, offset_minutes = match.groups()
        offset = (int(offset_hours) * 3600 + int(offset_minutes) * 60) if sign else 0
        if sign == "-":
            offset = -offset
        if int(hours) > 23 or int(minutes) > 59 or int(seconds) > 59:
            raise ValueError(f"not a time of day: {text!r}")
        whole = _epoch_of_date(date) + int(hours) * 3600 + int(minutes) * 60 + int(seconds) - offset
        return cls(whole * _SECOND + (int(fraction[:9].ljust(9, "0")) if fraction else 0), offset)

    def rfc3339(self) -> str:
        """`2026-11-21T19:10:32Z` or `2026-11-21T22:10:32+03:00`: whole seconds."""
        return self._date_time() + self._zone()

    def rfc3339_ns(self) -> str:
        """RFC 3339 with up to nine fractional digits, zeros at the end dropped: the form in JSON."""
        return f"{self._date_time()}{fraction(self.ns % _SECOND)}{self._zone()}"

    def rfc850(self, zone_name: str = "") -> str:
        """`Saturday, 21-Nov-26 19:10:32 UTC`; zone_name: abbreviation to print, the numeric offset when empty."""
        parts = time.gmtime(self.ns // _SECOND + self.utc_offset_seconds)
        day, month = _DAYS[parts.tm_wday], _MONTHS[parts.tm_mon - 1]
        zone = zone_name or ("UTC" if self.utc_offset_seconds == 0 else self._zone().replace(":", ""))
        clock = f"{parts.tm_hour:02d}:{parts.tm_min:02d}:{parts.tm_sec:02d}"
        return f"{day}, {parts.tm_mday:02d}-{month}-{parts.tm_year % 100:02d} {clock} {zone}"

    @property
    def is_zero(self) -> bool:
        """Whether this is Go's zero time, which stands for "unknown"."""
        return self.ns == _ZERO_SECONDS * _SECOND

    def _date_time(self) -> str:
        return _date_time(self.ns // _SECOND + self.utc_offset_seconds)

    def _zone(self) -> str:
        if self.utc_offset_seconds == 0:
            return "Z"
        minutes = abs(self.utc_offset_seconds) // 60
        return f"{'-' if self.utc_offset_seconds < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}"


ZERO_TIME: Final = Timestamp(_ZERO_SECONDS * _SECOND)


def fraction(nanoseconds: int) -> str:
    """What follows the seconds of a time in JSON: nothing for none, zeros at the end dropped."""
    return f".{nanoseconds:09d}".rstrip("0") if nanoseconds else ""


@functools.lru_cache(maxsize=4096)  # the files of a cluster share few days
def _epoch_of_date(date: str) -> int:
    return (calendar_date.fromisoformat(date).toordinal() - _EPOCH_ORDINAL) * 86_400


@functools.lru_cache(maxsize=4096)  # nor many seconds: they were written together
def _date_time(seconds: int) -> str:
    parts = time.gmtime(seconds)
    return (
        f"{parts.tm_year:04d}-{parts.tm_mon:02d}-{parts.tm_mday:02d}"
        f"T{parts.tm_hour:02d}:{parts.tm_min:02d}:{parts.tm_sec:02d}"
    )
