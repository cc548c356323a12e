"""ASCII armor (RFC 9580, section 6), for keys."""

import base64
import binascii

from walpy.errors import ConfigError

CRC24_START = 0xB704CE
CRC24_POLYNOMIAL = 0x864CFB
BEGIN = "-----BEGIN PGP "


def dearmor(data: bytes) -> bytes:
    """The binary packets of a key file: those of its first armor block, or the data themselves when they are binary.

    As WAL-G, only the first block of a text is read. Raises ConfigError for text without a block or with a damaged one.
    """
    if data[:1] >= b"\x80":  # each packet begins with the highest bit set
        return data
    lines = [line.strip() for line in data.decode("utf-8", "replace").splitlines()]
    start = next((index for index, line in enumerate(lines) if line.startswith(BEGIN)), None)
    if start is None:
        raise ConfigError("no OpenPGP key: neither an ASCII armor block nor binary packets")
    label = lines[start].removeprefix(BEGIN).rstrip("-")
    end = next((index for index in range(start, len(lines)) if lines[index].startswith(f"-----END PGP {label}")), None)
    if end is None:
        raise ConfigError(f"the armor of the {label.lower()} is truncated")
    return _decode(_without_headers(lines[start + 1 : end]), label.lower())


def _without_headers(lines: list[str]) -> list[str]:
    """Armor headers (`Version: ...`) end with an empty line; a block may have none of both."""
    blank = next((index for index, line in enumerate(lines) if not line), None)
    if blank is not None and all(": " in line for line in lines[:blank]):
        return lines[blank + 1 :]
    return lines


def _decode(lines: list[str], label: str) -> bytes:
    body = [line for line in lines if line and not line.startswith("=")]
    checksum = next((line[1:] for line in lines if line.startswith("=")), "")
    try:
        data = base64.b64decode("".join(body), validate=True)
        expected = base64.b64decode(checksum, validate=True)
    except binascii.Error:
        raise ConfigError(f"the armor of the {label} is damaged: not base64") from None
    if expected and int.from_bytes(expected) != crc24(data):
        raise ConfigError(f"the armor of the {label} is damaged: wrong checksum")
    return data


def crc24(data: bytes) -> int:
    """Checksum of armored data. Source: RFC 9580, section 6.1.1."""
    crc = CRC24_START
    for octet in data:
        crc ^= octet << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= CRC24_POLYNOMIAL | 0x1000000
    return crc
