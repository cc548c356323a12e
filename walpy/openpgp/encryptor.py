"""Writes a message: session keys for all recipients, then the encrypted data."""

import os
from collections.abc import Sequence

from walpy.errors import ConfigError
from walpy.openpgp.algorithms import CIPHERS
from walpy.openpgp.recipients import Recipient, common_cipher
from walpy.openpgp.seipd import SeipdWriter
from walpy.openpgp.session_keys import SessionKey, encrypt_session_key
from walpy.storage.base import Chunk


class Encryptor:
    """A Transform that encrypts one message under a session key of its own. Memory: see SeipdWriter."""

    def __init__(self, recipients: Sequence[Recipient]) -> None:
        """Raises ConfigError when a recipient's key does not work."""
        number = common_cipher(recipients)
        key = os.urandom(CIPHERS[number].key_size)
        self._head = b"".join([_packet(item, SessionKey(number, key)) for item in recipients])
        self._writer = SeipdWriter(CIPHERS[number], key)

    def update(self, chunk: Chunk) -> bytes:
        """Encrypt a chunk."""
        return self._take_head() + self._writer.update(chunk)

    def finish(self) -> bytes:
        """End the message."""
        return self._take_head() + self._writer.finish()

    def _take_head(self) -> bytes:
        head, self._head = self._head, b""
        return head


def _packet(recipient: Recipient, session_key: SessionKey) -> bytes:
    try:
        return encrypt_session_key(recipient.key, session_key)
    except ValueError as error:
        raise ConfigError(f"cannot encrypt a message to key id {recipient.key.name} because {error}") from None
