"""Reads the fields of one packet that is in memory."""


class Fields:
    """Takes fields off the front of a packet's body. Every method raises ValueError where the body ends too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def take(self, size: int) -> bytes:
        """The next size bytes."""
        end = self.position + size
        if end > len(self._data):
            raise ValueError("the packet is too short")
        field = self._data[self.position : end]
        self.position = end
        return field

    def number(self, size: int) -> int:
        """The next size bytes as an integer, big-endian."""
        return int.from_bytes(self.take(size))

    def byte(self) -> int:
        """The next byte."""
        return self.number(1)

    def counted(self, size: int = 1) -> bytes:
        """Bytes after their count, which takes size bytes."""
        return self.take(self.number(size))

    def mpi(self) -> bytes:
        """A multi-precision integer (RFC 9580, section 3.2), big-endian; may have leading zeros."""
        return self.take((self.number(2) + 7) // 8)

    def exact_mpi(self) -> bytes:
        """A multi-precision integer whose count of bits is the exact one, as in all messages.

        Otherwise a changed bit of the count could pass unseen.
        """
        start = self.position
        value = self.mpi()
        if int.from_bytes(self._data[start : start + 2]) != int.from_bytes(value).bit_length():
            raise ValueError("an integer has a wrong count of bits")
        return value

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data) - self.position)

    def end(self) -> None:
        """Raise ValueError unless all was taken."""
        if self.position != len(self._data):
            raise ValueError("the packet is too long")


def encode_mpi(value: int | bytes) -> bytes:
    """A multi-precision integer: count of bits in two bytes, then the bytes, big-endian."""
    number = int.from_bytes(value) if isinstance(value, bytes) else value
    bits = number.bit_length()
    return bits.to_bytes(2) + number.to_bytes((bits + 7) // 8)
