"""The Cipher protocol: what stands between codec and storage when an archive is encrypted."""

from typing import Protocol

from walpy.stream.transform import Transform


class Cipher(Protocol):
    """One way of encrypting, with its keys; safe for threads, one for an archive.

    name: for people: OpenPGP, libsodium, AWS KMS. Its repr shows no key.
    """

    @property
    def name(self) -> str: ...

    def encryptor(self) -> Transform:
        """A fresh encryptor; may ask a key service. Raises ConfigError without a key that encrypts, WalpyError."""
        ...

    def decryptor(self) -> Transform:
        """A fresh decryptor: its update gives authenticated bytes alone, its finish proves that nothing is missing.

        Both raise DataCorrupt: for damage, truncation, and a key that is not the object's; and WalpyError when a key
        service fails.
        """
        ...
