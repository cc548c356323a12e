"""A base backup that is encrypted on the way, beside the same one stored plain."""

import time
from collections.abc import Mapping
from dataclasses import replace

from benchmarks.bench import Bench
from benchmarks.ciphers.kinds import KEY, KEYS, Kind, kinds
from benchmarks.ciphers.speed import chunks_of
from benchmarks.data.cluster import Cluster
from benchmarks.machine import CORES
from benchmarks.model import OWN, Absent, Plan, Variant
from benchmarks.rows.backup import ROUNDS, walg_like

SETTINGS: Mapping[str, Mapping[str, str]] = {
    "OpenPGP, AES-128": {"WALG_PGP_KEY_PATH": str(KEYS / "aes128.asc")},
    "libsodium": {"WALG_LIBSODIUM_KEY": KEY.hex(), "WALG_LIBSODIUM_KEY_TRANSFORM": "hex"},
}
SAMPLED = 32 << 20  # bytes
TRIES = 3  # the best counts: a floor is what the machine can do


def encrypted_plan(bench: Bench, codec: str, cipher: str) -> Plan:
    """Backups of the big cluster with a cipher of SETTINGS, and without."""
    cluster = bench.cluster(bench.data.big)
    more = SETTINGS[cipher]
    entries: list[Variant | Absent] = [
        walg_like(bench, OWN, OWN, cluster, codec, "file", more),
        _plain(bench, cluster, codec),
        walg_like(bench, "wal-g", "wal-g", cluster, codec, "file", more),
    ]
    floor = _floor(bench, codec, cluster.size, next(kind for kind in kinds() if kind.name == cipher))
    return Plan(entries, bench.rounds(ROUNDS), cluster.size / 1e9, floor=floor, is_synced=True)


def _plain(bench: Bench, cluster: Cluster, codec: str) -> Variant | Absent:
    entry = walg_like(bench, OWN, f"{OWN}, not encrypted", cluster, codec, "file", {})
    return replace(entry, is_headline=False) if isinstance(entry, Variant) else entry


def _floor(bench: Bench, codec: str, size: int, kind: Kind) -> float:
    """Seconds that codec and cipher need on all cores, or the disk."""
    speed = bench.speed(codec, bench.data.sample_of(bench.data.big))
    stored = size * speed.ratio
    working = size / speed.encode + stored / encrypting_speed(kind)
    return max(working / CORES, stored / bench.write_speed)


def encrypting_speed(kind: Kind) -> float:
    """Bytes a second of a cipher's primitives on one core."""
    action = kind.seal(chunks_of(SAMPLED))
    times = []
    for _ in range(TRIES):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return SAMPLED / min(times)
