"""Messages and keys are exchanged with the gpg program, both ways."""

import os
from collections.abc import Iterator

import pytest

from tests.fixtures.gnupg import Gnupg, gnupg
from tests.unit.openpgp.material import decrypt, encrypt
from walpy.config import Config
from walpy.errors import ConfigError, DataCorrupt
from walpy.openpgp import cipher as cipher_module
from walpy.openpgp.cipher import OpenPgpCipher, from_config
from walpy.openpgp.describe import describe

PLAIN = os.urandom(150_001) + b"\r\n text \r" * 20_000  # carriage returns must survive

KEYS = {
    "rsa2048": ("Type: RSA;Length: 2048;Usage: sign", "Type: RSA;Length: 2048;Usage: encrypt"),
    "rsa4096": ("Type: RSA;Length: 4096;Usage: sign", "Type: RSA;Length: 4096;Usage: encrypt"),
    "rsa-primary": ("Type: RSA;Length: 2048;Usage: sign,encrypt", ""),
    "elgamal": ("Type: DSA;Length: 1024", "Type: ELG;Length: 1024;Usage: encrypt"),
    "cv25519": ("Type: EDDSA;Curve: ed25519;Usage: sign", "Type: ECDH;Curve: cv25519;Usage: encrypt"),
    "p256": ("Type: ECDSA;Curve: nistp256;Usage: sign", "Type: ECDH;Curve: nistp256;Usage: encrypt"),
    "p384": ("Type: ECDSA;Curve: nistp384;Usage: sign", "Type: ECDH;Curve: nistp384;Usage: encrypt"),
    "p521": ("Type: ECDSA;Curve: nistp521;Usage: sign", "Type: ECDH;Curve: nistp521;Usage: encrypt"),
    "brainpool": ("Type: ECDSA;Curve: brainpoolP256r1;Usage: sign", "Type: ECDH;Curve: brainpoolP256r1;Usage: encrypt"),
    "secp256k1": ("Type: ECDSA;Curve: secp256k1;Usage: sign", "Type: ECDH;Curve: secp256k1;Usage: encrypt"),
}


@pytest.fixture(scope="module")
def gpg() -> Iterator[Gnupg]:
    with gnupg() as found:
        yield found


@pytest.fixture
def own_gpg() -> Iterator[Gnupg]:
    """A keyring for one test."""
    with gnupg() as found:
        yield found


@pytest.fixture(scope="module")
def key(gpg: Gnupg) -> str:
    return gpg.make_key(*KEYS["cv25519"], name="module")


@pytest.fixture(scope="module")
def cipher(gpg: Gnupg, key: str) -> OpenPgpCipher:
    return OpenPgpCipher.from_key(gpg.export_secret(key))


@pytest.mark.parametrize("kind", KEYS)
def test_every_kind_of_key_both_ways(own_gpg: Gnupg, kind: str) -> None:
    key = own_gpg.make_key(*KEYS[kind], name=kind)
    public = OpenPgpCipher.from_key(own_gpg.export(key))
    assert own_gpg.run("--decrypt", data=encrypt(public, PLAIN)) == PLAIN
    secret = OpenPgpCipher.from_key(own_gpg.export_secret(key))
    assert decrypt(secret, own_gpg.run("--encrypt", "-r", key, data=PLAIN)) == PLAIN
    assert decrypt(secret, encrypt(public, PLAIN)) == PLAIN
    with pytest.raises(ConfigError, match="no secret key that decrypts"):
        public.decryptor()


def test_binary_keyring(gpg: Gnupg, key: str) -> None:
    binary = gpg.run("--export-secret-keys", key)
    assert decrypt(OpenPgpCipher.from_key(binary), gpg.run("--encrypt", "-r", key, data=PLAIN)) == PLAIN


@pytest.mark.parametrize("algorithm", ["none", "zip", "zlib", "bzip2"])
def test_compression(gpg: Gnupg, key: str, cipher: OpenPgpCipher, algorithm: str) -> None:
    data = gpg.run("--compress-algo", algorithm, "--encrypt", "-r", key, data=PLAIN)
    assert decrypt(cipher, data, 1000) == PLAIN
    assert decrypt(cipher, data) == PLAIN


@pytest.mark.parametrize(
    "name",
    ["IDEA", "3DES", "CAST5", "BLOWFISH", "AES", "AES192", "AES256", "CAMELLIA128", "CAMELLIA192", "CAMELLIA256"],
)
def test_ciphers(gpg: Gnupg, key: str, cipher: OpenPgpCipher, name: str) -> None:
    allowed = ("--allow-old-cipher-algos",) if gpg.version >= (2, 3) else ()  # it writes blocks of 64 bits no more
    arguments = ("--cipher-algo", name, "--force-mdc", "--encrypt", "-r", key)
    assert decrypt(cipher, gpg.run(*allowed, *arguments, data=PLAIN)) == PLAIN


def test_cipher_that_is_not_supported(gpg: Gnupg, key: str, cipher: OpenPgpCipher) -> None:
    data = gpg.run("--cipher-algo", "TWOFISH", "--encrypt", "-r", key, data=PLAIN)
    with pytest.raises(DataCorrupt, match="encrypted with Twofish, which is not supported"):
        decrypt(cipher, data)


def test_message_without_integrity_protection(gpg: Gnupg, key: str, cipher: OpenPgpCipher) -> None:
    data = gpg.run("--rfc2440", "--cipher-algo", "CAST5", "--encrypt", "-r", key, data=PLAIN)
    assert "not integrity protected" in str(describe(data))
    with pytest.raises(DataCorrupt, match="not integrity protected"):
        decrypt(cipher, data)


@pytest.mark.parametrize("option", ["-r", "-R"], ids=["named", "anonymous"])
def test_several_recipients(gpg: Gnupg, key: str, cipher: OpenPgpCipher, option: str) -> None:
    other = gpg.make_key(*KEYS["rsa2048"], name=f"other{option}")
    data = gpg.run("--encrypt", option, other, option, key, data=PLAIN)
    assert decrypt(cipher, data) == PLAIN
    assert decrypt(OpenPgpCipher.from_key(gpg.export_secret(other)), data) == PLAIN
    both = OpenPgpCipher.from_key(gpg.run("--armor", "--export", key, other))
    ours = encrypt(both, PLAIN)
    found = describe(ours)
    assert found is not None
    assert {item.algorithm for item in found.recipients} == {"ECDH", "RSA"}
    assert decrypt(cipher, ours) == PLAIN
    assert decrypt(OpenPgpCipher.from_key(gpg.export_secret(other)), ours) == PLAIN
    assert gpg.run("--decrypt", data=ours) == PLAIN


def test_signed_message(gpg: Gnupg, key: str, cipher: OpenPgpCipher) -> None:
    assert decrypt(cipher, gpg.run("--sign", "--encrypt", "-u", key, "-r", key, data=PLAIN)) == PLAIN


@pytest.mark.parametrize("kind", ["rsa2048", "cv25519", "elgamal", "p256"])
@pytest.mark.parametrize(
    "options",
    [(), ("--s2k-cipher-algo", "CAST5"), ("--s2k-digest-algo", "SHA512", "--s2k-count", "1024"), ("--s2k-mode", "1")],
    ids=["default", "cast5", "sha512", "salted"],
)
def test_locked_keys(gpg: Gnupg, kind: str, options: tuple[str, ...]) -> None:
    key = f"locked-{kind}"
    if not gpg.run("--list-keys", "--with-colons").count(f"{key}@".encode()):
        gpg.make_key(*KEYS[kind], name=key, passphrase="open sesame")
    data = gpg.export_secret(f"{key}@example.org", *options, passphrase="open sesame")
    locked = OpenPgpCipher.from_key(data, passphrase="open sesame")
    assert decrypt(locked, encrypt(locked, PLAIN)) == PLAIN
    with pytest.raises(ConfigError, match="does not unlock"):
        OpenPgpCipher.from_key(data, passphrase="sesame").decryptor()


def test_export_of_subkeys_alone(own_gpg: Gnupg) -> None:
    key = own_gpg.make_key(*KEYS["cv25519"], name="subkeys", passphrase="open sesame")
    data = own_gpg.run("--armor", "--export-secret-subkeys", key, passphrase="open sesame")
    secret = OpenPgpCipher.from_key(data, passphrase="open sesame")
    assert decrypt(secret, encrypt(secret, PLAIN)) == PLAIN


def test_expired_key_reads_and_does_not_write(own_gpg: Gnupg) -> None:
    stamp = ("--faked-system-time", "20200101T000000!")
    key = own_gpg.make_key(*KEYS["cv25519"], name="expired")
    fresh = OpenPgpCipher.from_key(own_gpg.export_secret(key))
    data = encrypt(fresh, PLAIN)
    own_gpg.run(*stamp, "--quick-gen-key", "old@example.org", "rsa2048", "encr,sign,cert", "20200201T000000")
    with pytest.raises(ConfigError, match=r"to key id [0-9A-F]{16} because it expired on 2020"):
        OpenPgpCipher.from_key(own_gpg.export("old@example.org")).encryptor()
    assert decrypt(fresh, data) == PLAIN
    old = OpenPgpCipher.from_key(own_gpg.export_secret("old@example.org"))
    assert decrypt(old, own_gpg.run(*stamp, "--encrypt", "-r", "old@example.org", data=PLAIN)) == PLAIN


def test_revoked_key(own_gpg: Gnupg) -> None:
    key = own_gpg.make_key(*KEYS["cv25519"], name="revoked")
    fingerprint = own_gpg.run("--list-keys", "--with-colons", key).decode().split("fpr:::::::::")[1].split(":")[0]
    home = own_gpg.environment["GNUPGHOME"]
    with open(f"{home}/openpgp-revocs.d/{fingerprint}.rev", encoding="ascii") as file:
        certificate = file.read().replace(":-----BEGIN", "-----BEGIN")
    own_gpg.run("--import", data=certificate.encode())
    with pytest.raises(ConfigError, match=r"key id [0-9A-F]{16} because it is revoked"):
        OpenPgpCipher.from_key(own_gpg.export(key)).encryptor()


def test_key_that_cannot_encrypt(own_gpg: Gnupg) -> None:
    key = own_gpg.make_key("Type: EDDSA;Curve: ed25519;Usage: sign", "", name="signer")
    with pytest.raises(ConfigError, match="no valid encryption keys: it has no subkey that may encrypt"):
        OpenPgpCipher.from_key(own_gpg.export(key)).encryptor()


@pytest.mark.parametrize("setting", ["WALG_GPG_KEY_ID", "WALE_GPG_KEY_ID", "GPG_KEY_ID"])
def test_key_id_of_gpg_s_keyring(
    gpg: Gnupg, key: str, setting: str, monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]
) -> None:
    monkeypatch.setenv("GNUPGHOME", gpg.environment["GNUPGHOME"])
    monkeypatch.setattr(cipher_module, "home_directory", lambda: str(tmp_path))
    cipher = from_config(Config.from_mapping({setting: key}))
    data = encrypt(cipher, PLAIN)
    assert decrypt(cipher, data) == PLAIN
    assert os.listdir(tmp_path) == [".walg_key_cache"]
    monkeypatch.setenv("GNUPGHOME", os.fspath(tmp_path))  # a public key is taken from the cache, a secret one is not
    again = from_config(Config.from_mapping({setting: key}))
    assert decrypt(cipher, encrypt(again, PLAIN)) == PLAIN
    with pytest.raises(ConfigError, match=f"cannot get key {key} from gpg"):
        again.decryptor()
