"""The OpenPGP cipher: keys from the settings, and a transform for each object.

Settings, the first that is set wins: WALG_PGP_KEY, WALG_PGP_KEY_PATH, WALG_GPG_KEY_PATH, and a key id of gpg's keyring
(GPG_KEY_ID, WALG_GPG_KEY_ID, WALE_GPG_KEY_ID). WALG_PGP_KEY_PASSPHRASE unlocks the secret keys.
"""

import threading
import time
from collections.abc import Callable

from walpy.config import Config
from walpy.config_file import home_directory
from walpy.errors import ConfigError, SecretKeyMissing
from walpy.openpgp.armor import dearmor
from walpy.openpgp.certificates import Certificate, read_certificates
from walpy.openpgp.decryptor import Decryptor
from walpy.openpgp.encryptor import Encryptor
from walpy.openpgp.recipients import Recipient, recipient
from walpy.openpgp.secret_keys import PrivateKey, SecretKey, WrongPassphrase, can_decrypt
from walpy.stream.key_file import read_key_file

PASSPHRASE = "WALG_PGP_KEY_PASSPHRASE"

KeySource = Callable[[], bytes]


class OpenPgpCipher:
    """Encrypts for every certificate of a keyring, and decrypts with its secret keys. Safe for threads.

    Keys are read, and unlocked, once, when they are first used. name: for people.
    """

    name = "OpenPGP"

    def __init__(
        self, public: KeySource, secret: KeySource, *, passphrase: str = "", origin: str = "the OpenPGP key"
    ) -> None:
        """public, secret: give the keyring to encrypt for and to decrypt with. origin: of the keys, for messages."""
        self._public = public
        self._secret = secret
        self._passphrase = passphrase
        self._origin = origin
        self._lock = threading.Lock()
        self._certificates: list[Certificate] | None = None
        self._private_keys: list[PrivateKey] | None = None
        self._spare: Encryptor | None = None  # one that no object has yet

    @classmethod
    def from_key(cls, data: bytes, *, passphrase: str = "", origin: str = "the OpenPGP key") -> "OpenPgpCipher":
        """A cipher with one keyring for both directions. data: armored or binary."""

        def source() -> bytes:
            return data

        return cls(source, source, passphrase=passphrase, origin=origin)

    def __repr__(self) -> str:
        return f"OpenPgpCipher({self._origin})"

    def encryptor(self) -> Encryptor:
        """A Transform that encrypts one object. Raises ConfigError, naming key and reason, when a key cannot."""
        with self._lock:
            made, self._spare = self._spare, None
        return made or Encryptor(self.recipients())

    def check_encryption(self) -> None:
        """Make the next object's encryptor now. Raises ConfigError as encryptor."""
        self._spare = Encryptor(self.recipients())

    def can_decrypt(self) -> bool:
        """Whether there is a secret key that decrypts; gpg's keyring is not asked. Raises ConfigError."""
        return self._secret is self._public and any(map(_secret_keys, self.certificates()))

    def decryptor(self) -> Decryptor:
        """A Transform (a Decoder) that decrypts one object. Raises ConfigError without a usable secret key."""
        return Decryptor(self.private_keys())

    def recipients(self) -> list[Recipient]:
        """The keys to encrypt for, one of each certificate. Raises ConfigError."""
        now = int(time.time())
        return [recipient(certificate, now) for certificate in self.certificates()]

    def certificates(self) -> list[Certificate]:
        """The certificates to encrypt for. Raises ConfigError."""
        with self._lock:
            if self._certificates is None:
                self._certificates = self._read(self._public)
            return self._certificates

    def private_keys(self) -> list[PrivateKey]:
        """The unlocked secret keys that decrypt. Raises ConfigError: there is none, or the pass phrase is wrong."""
        with self._lock:
            if self._private_keys is None:
                self._private_keys = self._unlock(self._read(self._secret))
            return self._private_keys

    def _read(self, source: KeySource) -> list[Certificate]:
        try:
            return read_certificates(dearmor(source()))
        except ValueError as error:
            raise ConfigError(f"cannot use {self._origin}: {error}") from None

    def _unlock(self, certificates: list[Certificate]) -> list[PrivateKey]:
        keys = [key for certificate in certificates for key in _secret_keys(certificate)]
        if not keys:
            names = ", ".join(certificate.primary.public.name for certificate in certificates)
            raise SecretKeyMissing(
                f"cannot decrypt: {self._origin} has no secret key that decrypts ({names})",
                "Reading needs the private key block; a public one is enough for writing.",
            )
        return [self._unlocked(key) for key in keys]

    def _unlocked(self, key: SecretKey) -> PrivateKey:
        if key.is_locked and not self._passphrase:
            raise ConfigError(f"secret key {key.public.name} is locked", f"Set {PASSPHRASE} to its pass phrase.")
        try:
            return key.unlock(self._passphrase.encode())
        except WrongPassphrase:
            raise ConfigError(f"{PASSPHRASE} does not unlock secret key {key.public.name}") from None
        except ValueError as error:
            raise ConfigError(f"secret key {key.public.name} cannot be used: {error}") from None


def _secret_keys(certificate: Certificate) -> list[SecretKey]:
    """The secret keys that decrypt, locked or not."""
    return [key for key in certificate.secret_keys if can_decrypt(key)]


def from_config(config: Config) -> OpenPgpCipher:
    """The cipher that the settings ask for. Raises ConfigError for a key that cannot be read or understood."""
    passphrase = config.text(PASSPHRASE)
    if config.is_set("WALG_PGP_KEY"):
        # A setting of one line: its line ends are written as backslash and n.
        data = config.text("WALG_PGP_KEY").replace("\\n", "\n").encode()
        return OpenPgpCipher.from_key(data, passphrase=passphrase, origin="WALG_PGP_KEY")
    for key, path in (
        ("WALG_PGP_KEY_PATH", config.text("WALG_PGP_KEY_PATH")),
        ("WALG_GPG_KEY_PATH", config.text("WALG_GPG_KEY_PATH")),
    ):
        if path:
            origin = f"the key file {path!r} ({key})"
            return OpenPgpCipher.from_key(read_key_file(path, key), passphrase=passphrase, origin=origin)
    return _from_gpg(config, passphrase)


def _from_gpg(config: Config, passphrase: str) -> OpenPgpCipher:
    setting = config.storage_key("GPG_KEY_ID")
    key_id = config.text(setting)
    if not key_id:
        raise ConfigError("there is no OpenPGP key", "Set WALG_PGP_KEY_PATH to a file with one.")
    # Here: it brings subprocess, which a start with keys in files does not need.
    from walpy.openpgp.gpg_keyring import public_key_of_gpg, secret_key_of_gpg

    home = home_directory()
    return OpenPgpCipher(
        lambda: public_key_of_gpg(key_id, home),
        lambda: secret_key_of_gpg(key_id),
        passphrase=passphrase,
        origin=f"key {key_id} of gpg ({setting})",
    )
