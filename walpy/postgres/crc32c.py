"""CRC-32C (Castagnoli), for the few hundred bytes that PostgreSQL protects with it in pg_control and WAL records."""

POLYNOMIAL = 0x82F63B78  # reflected

_table: list[int] = []


def crc32c(data: bytes) -> int:
    """CRC-32C of data: about 5 MB/s, so not for anything large."""
    if not _table:
        _table.extend(_entry(byte) for byte in range(256))
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (POLYNOMIAL if byte & 1 else 0)
    return byte
