"""Lets the C library keep freed memory for the next piece, instead of giving it back to the kernel each time.

Codecs return every piece as new bytes of up to a megabyte. glibc maps that much afresh for each, unmaps it after use,
and the page faults cost more than the compression: more than half of the CPU time of a backup (measured).
Source: mallopt(3).
"""

import ctypes
from typing import Final

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # parameters of mallopt
_KEPT_SIZE: Final = 32 << 20  # bytes; the largest that glibc takes for a threshold


def keep_freed_memory() -> None:
    """Tune this process for pieces of megabytes; does nothing where the C library has no mallopt.

    At most _KEPT_SIZE bytes stay unused; threads share one arena, so that each finds what another has freed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for parameter, value in ((_MMAP_THRESHOLD, _KEPT_SIZE), (_TRIM_THRESHOLD, _KEPT_SIZE), (_ARENA_MAX, 1)):
        mallopt(parameter, value)
