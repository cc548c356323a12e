"""Token bucket for WALG_NETWORK_RATE_LIMIT: as in WAL-G it holds one second's bytes and 64 KiB, and starts full."""

import time
from collections.abc import Iterable, Iterator

from walpy.storage.base import Chunk

_EXTRA_BURST = 64 << 10  # bytes


class RateLimit:
    """Passes chunks on no faster than bytes_per_second on average; 0 or less is no limit. Not for several threads."""

    def __init__(self, bytes_per_second: int) -> None:
        self._rate = bytes_per_second
        self._burst = bytes_per_second + _EXTRA_BURST
        self._tokens = float(self._burst)
        self._filled = time.monotonic()

    def limit(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """The same chunks, after a pause where they come too fast."""
        for chunk in chunks:
            if self._rate > 0:
                self._spend(len(chunk))
            yield chunk

    def _spend(self, count: int) -> None:
        """Take tokens, into debt when the chunk is larger than the bucket, and wait until the debt is paid."""
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate) - count
        self._filled = now
        if self._tokens < 0:
            time.sleep(-self._tokens / self._rate)
