"""Changes to inputs: of bytes, of packets, of frames. All chance comes from one generator, so that a run repeats."""

import random
import zlib
from collections.abc import Callable, Sequence

from tests.fuzz.messages import framed
from walpy.openpgp.packets import COMPRESSED, ENDLESS, parse_header, parse_length

Mutation = Callable[[bytes, bytes, random.Random], bytes]  # an input, another one to take from, chance

NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xBF, 0xC0, 0xDF, 0xE0, 0xF0, 0xFE, 0xFF)
LARGEST = 320 << 10  # bytes of an input
TAGS = (1, 2, 3, 4, 8, 9, 10, 11, 17, 18, 19, 20, 21, 40, 60, 63)
EXTRA = (
    (10, b"PGP"),  # marker
    (21, b"\0" * 7),  # padding
    (40, b"unknown"),
    (3, b"\x04\x07\x03\x02" + bytes(8) + b"\x60"),  # for a pass phrase
    (1, b"\x03" + bytes(8) + b"\x12"),
    (2, b"\x04\x00"),
    (4, b"\x03\0\x08\x16" + bytes(8) + b"\x01"),
)


def mutate_bytes(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """Change, cut, repeat, insert or take over some bytes; rather near the front, where the heads are."""
    if not data:
        return other[:100] or b"\0"
    front = len(data) if chance.random() < 0.5 else min(len(data), 300)
    start, end = sorted((chance.randrange(front + 1), chance.randrange(front + 1)))
    changed = bytearray(data)
    match chance.randrange(9):
        case 0:
            changed[chance.randrange(front)] ^= 1 << chance.randrange(8)
        case 1:
            for _ in range(chance.randrange(1, 6)):
                changed[chance.randrange(front)] = chance.choice(NUMBERS)
        case 2:
            changed[start : start + 4] = chance.choice((0, 1, 0xFFFF, 1 << 31, (1 << 32) - 1)).to_bytes(4, "little")
        case 3:
            del changed[start:]
        case 4:
            del changed[start:end]
        case 5:
            changed[end:end] = changed[start:end]
        case 6:
            changed[start:start] = chance.randbytes(chance.choice((1, 2, 16, 17, 300)))
        case 7:
            changed[start:end] = other[start:end]
        case _:
            changed += chance.choice((b"\0", other[:1000], bytes(changed)))
    return bytes(changed)


def mutate_units(units: list[bytes], other: Sequence[bytes], chance: random.Random) -> list[bytes]:
    """Leave out, repeat, exchange or take over whole frames, or change bytes within one."""
    if not units:
        return [*other[:1]]
    place, second = chance.randrange(len(units)), chance.randrange(len(units))
    match chance.randrange(7):
        case 0:
            return units[:place] + units[place + 1 :]
        case 1:
            return [*units[: place + 1], *units[place:]]
        case 2:
            units[place], units[second] = units[second], units[place]
        case 3 if other:
            units[place] = chance.choice(other)
        case 4:
            return units[:place]
        case _:
            units[place] = mutate_bytes(units[place], units[second], chance)
    return units


def framewise(split: Callable[[bytes], list[bytes]]) -> Mutation:
    """A mutation by what split takes an input apart to."""

    def mutate(data: bytes, other: bytes, chance: random.Random) -> bytes:
        if chance.random() < 0.3:
            return mutate_bytes(data, other, chance)
        return b"".join(mutate_units(split(data), split(other), chance))

    return mutate


def cutter(head: int, size: int) -> Callable[[bytes], list[bytes]]:
    """Takes apart a head and frames of one size."""
    return lambda data: [data[:head], *(data[start : start + size] for start in range(head, len(data), size))]


def packets_of(data: bytes) -> list[tuple[int, bytes]] | None:
    """Tags and bodies; None for what is no row of whole packets."""
    found: list[tuple[int, bytes]] = []
    try:
        while data:
            header = parse_header(data[:6])
            if header is None:
                return None
            body, rest, length = b"", data[header.used :], header.length
            while length.partial:
                body, rest = body + rest[: length.size], rest[length.size :]
                following = parse_length(rest[:5])
                if following is None:
                    return None
                length, rest = following, rest[following.used :]
            if len(rest) < length.size != ENDLESS:
                return None
            found.append((header.tag, body + rest[: length.size]))
            data = rest[length.size :]
    except ValueError:
        return None
    return found


def mutate_packets(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """Change packets, and how their lengths are written; an input of no packets by its bytes."""
    packets = packets_of(data)
    if not packets or chance.random() < 0.25:
        return mutate_bytes(data, other, chance)
    place = chance.randrange(len(packets))
    tag, body = packets[place]
    match chance.randrange(10):
        case 0:
            packets[place] = (chance.choice(TAGS), body)
        case 1:
            packets.insert(place, chance.choice(EXTRA))
        case 2:
            packets.insert(chance.randrange(len(packets) + 1), packets[place])
        case 3:
            del packets[place]
        case 4:
            packets += packets_of(other) or []
        case 5:
            packets[place] = (tag, mutate_bytes(body, other, chance))
        case 6 if tag == COMPRESSED:
            packets[place] = (tag, _inflated_changed(body, other, chance))
        case 7:
            packets[place] = (COMPRESSED, b"\x02" + zlib.compress(framed(tag, body, chance)))
        case 8:
            return _with_a_wrong_length(packets, place, chance)
    made = [framed(tag, body, chance) for tag, body in packets[:-1]]
    return b"".join([*made, *(framed(tag, body, chance) for tag, body in packets[-1:])])


def _inflated_changed(body: bytes, other: bytes, chance: random.Random) -> bytes:
    try:
        content = zlib.decompressobj().decompress(body[1:], LARGEST)
    except zlib.error:
        return mutate_bytes(body, other, chance)
    return b"\x02" + zlib.compress(mutate_packets(content, other, chance))


def _with_a_wrong_length(packets: list[tuple[int, bytes]], place: int, chance: random.Random) -> bytes:
    made = [framed(tag, body, chance) for tag, body in packets]
    tag, body = packets[place]
    size = max(0, len(body) + chance.choice((-1, 1, -20, 300, 1 << 30)))
    made[place] = bytes([0xC0 | tag, 0xFF]) + size.to_bytes(4) + body
    return b"".join(made)
