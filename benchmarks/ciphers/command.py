"""`python -m benchmarks ciphers`: tables of speeds, and with --long the streams of more than 4 GiB."""

import argparse

from benchmarks.ciphers import gpg, long_stream
from benchmarks.ciphers.kinds import kinds
from benchmarks.ciphers.speed import Speed, measure
from benchmarks.report.markdown import number, table

HEAD = ("cipher", "", "MB/s a core", "CPU s/GB", "floor", "of the floor", "of the encryption alone", "peak KiB")
LONG_HEAD = ("cipher", "stored bytes", "CPU s", "growth of memory, KiB", "equal")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    command.add_argument("--megabytes", type=int, default=64, help="plain data in memory (default: %(default)s)")
    command.add_argument("--rounds", type=int, default=9, metavar="N", help="turns (default: %(default)s)")
    command.add_argument("--long", action="store_true", help="round trips of more than 4 GiB instead: minutes")


def ciphers(arguments: argparse.Namespace) -> str:
    """Measure; Markdown."""
    if arguments.long:
        return long_table()
    size = arguments.megabytes << 20
    speeds = [speed for kind in kinds() for speed in measure(kind, size, arguments.rounds)]
    names = {kind.name: kind.floor_name for kind in kinds()}
    floors = "".join(f"- {name}: {floor}\n" for name, floor in names.items())
    return f"{table(HEAD, map(line, speeds))}\nFloors:\n\n{floors}\n{gpg_line(size, arguments.rounds)}"


def line(speed: Speed) -> list[str]:
    """One direction."""
    return [
        speed.kind,
        speed.direction,
        f"{1000 / speed.cpu:.0f}",
        number(speed.cpu),
        number(speed.floor),
        f"{speed.ratio:.2f}",
        f"{speed.of_primitive:.2f}" if speed.of_primitive else "",
        f"{speed.memory >> 10}",
    ]


def gpg_line(size: int, rounds: int) -> str:
    """gpg beside them."""
    found = gpg.measure(size, min(rounds, 5))
    if found is None:
        return "gpg is not on PATH.\n"
    text = ", ".join(f"{direction} {number(seconds)} CPU s/GB" for direction, seconds in found.items())
    return f"gpg, AES-128 without compression, file to file: {text}.\n"


def long_table() -> str:
    """Every kind, one after the other."""
    found = [long_stream.round_trip(index, long_stream.SIZE) for index in range(len(kinds()))]
    lines = [
        [one.kind, str(one.stored), number(one.seconds), str(one.growth >> 10), "yes" if one.is_equal else "**no**"]
        for one in found
    ]
    return table(LONG_HEAD, lines)
