"""Speed of a cipher beside its floor: in one thread, in turns, by CPU time, so that a busy machine disturbs little."""

import os
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.ciphers.kinds import Kind
from walpy.stream.cipher import Cipher

CHUNK = 1 << 20  # bytes, as a backup's pieces are; a multiple of all frames


@dataclass(frozen=True, slots=True)
class Speed:
    """One direction of a kind. cpu, floor: CPU seconds for each GB of plain data, medians. ratio: speed as a share of
    the floor's, the median of neighbouring turns; of_primitive: of the encryption's alone. memory: bytes at most."""

    kind: str
    direction: str
    cpu: float
    floor: float
    ratio: float
    of_primitive: float | None
    memory: int


def chunks_of(size: int) -> list[bytes]:
    """Random plain data."""
    return [os.urandom(CHUNK) for _ in range(size // CHUNK)]


def sealed(cipher: Cipher, chunks: Sequence[bytes]) -> list[bytes]:
    """What a cipher stores, as chunks of the same size."""
    encryptor = cipher.encryptor()
    whole = b"".join([*(bytes(encryptor.update(chunk)) for chunk in chunks), bytes(encryptor.finish())])
    return [whole[start : start + CHUNK] for start in range(0, len(whole), CHUNK)]


def encrypt(cipher: Cipher, chunks: Sequence[bytes]) -> None:
    """As an upload does."""
    encryptor = cipher.encryptor()
    for chunk in chunks:
        encryptor.update(chunk)
    encryptor.finish()


def decrypt(cipher: Cipher, stored: Sequence[bytes]) -> None:
    """As a download does."""
    decryptor = cipher.decryptor()
    for chunk in stored:
        for _ in decryptor.pieces(chunk):
            pass
    decryptor.finish()


def cpu_seconds(action: Callable[[], None]) -> float:
    """CPU seconds of this thread."""
    started = time.thread_time()
    action()
    return time.thread_time() - started


def peak_memory(action: Callable[[], None]) -> int:
    """Bytes that an action allocates at most, its input apart."""
    tracemalloc.start()
    action()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def measure(kind: Kind, size: int, rounds: int) -> list[Speed]:
    """Both directions of a kind, over so many bytes, so many times."""
    chunks = chunks_of(size)
    stored = sealed(kind.cipher, chunks)
    primitives = kind.primitive or (None, None)
    ways = (
        ("encrypt", lambda: encrypt(kind.cipher, chunks), kind.seal, primitives[0]),
        ("decrypt", lambda: decrypt(kind.cipher, stored), kind.open, primitives[1]),
    )
    found = []
    for direction, action, floor, primitive in ways:
        others = [floor(chunks), *([primitive(chunks)] if primitive else [])]
        turns = [[cpu_seconds(action), *map(cpu_seconds, others)] for _ in range(rounds)]
        memory = peak_memory(action)
        found.append(summary(kind.name, direction, turns, sum(map(len, chunks)) / 1e9, memory))
    return found


def summary(kind: str, direction: str, turns: Sequence[Sequence[float]], gigabytes: float, memory: int) -> Speed:
    """turns: CPU seconds of the cipher, of its floor and, if there is one, of its primitive."""
    return Speed(
        kind,
        direction,
        cpu=statistics.median(turn[0] for turn in turns) / gigabytes,
        floor=statistics.median(turn[1] for turn in turns) / gigabytes,
        ratio=statistics.median(turn[1] / turn[0] for turn in turns),
        of_primitive=statistics.median(turn[2] / turn[0] for turn in turns) if len(turns[0]) > 2 else None,
        memory=memory,
    )
