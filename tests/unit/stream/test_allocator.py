"""What codecs free is used again."""

import subprocess
import sys

import pytest

PIECES = 50
PROGRAM = """
import resource, sys
from walpy.stream.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
import zlib
piece = bytes(range(256)) * 4096
for number in range({pieces}):
    if number == 5:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    zlib.decompress(zlib.compress(piece, 0))
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    """Page faults of a program that makes pieces of a megabyte, in a process of its own."""
    command = [sys.executable, "-c", PROGRAM.format(pieces=PIECES), mode]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_pieces_after_the_first_cost_no_page_faults() -> None:
    assert faults("kept") < PIECES < faults("given back") // 100
