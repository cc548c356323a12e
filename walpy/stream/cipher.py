"""The Cipher protocol: what stands between codec and storage when an archive is encrypted."""

from collections.abc import Iterator
from typing import Protocol

from walpy.storage.base import Chunk
from walpy.stream.transform import Transform


class Decryptor(Transform, Protocol):
    """A Transform that can also hand out what it decrypts in bounded pieces: what it decrypts may be compressed."""

    def pieces(self, chunk: Chunk) -> Iterator[Chunk]:
        """As update, piece by piece; to be consumed to its end before the next call.

        As it is here, for ciphers whose objects hold no more than their bytes.
        """
        yield self.update(chunk)


class Cipher(Protocol):
    """One way of encrypting, with its keys; safe for threads, one for an archive.

    name: for people: OpenPGP, libsodium, AWS KMS. Its repr shows no key.
    """

    @property
    def name(self) -> str: ...

    def encryptor(self) -> Transform:
        """A fresh encryptor; may ask a key service. Raises ConfigError without a key that encrypts, WalpyError."""
        ...

    def check_encryption(self) -> None:
        """Make sure that the next encryptor can be had, before anything else is done. Raises as encryptor."""
        ...

    def can_decrypt(self) -> bool:
        """Whether what it encrypts can be read back with what is at hand; False where nobody knows without asking.

        Raises ConfigError.
        """
        ...

    def decryptor(self) -> Decryptor:
        """A fresh decryptor: its pieces are authenticated bytes alone, its finish proves that nothing is missing.

        Both raise DataCorrupt: for damage, truncation, and a key that is not the object's; and WalpyError when a key
        service fails.
        """
        ...
