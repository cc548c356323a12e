"""OCB, which gpg writes since 2.3: golden messages of gpg 2.4.7, and whatever gpg is here when it is new enough."""

import base64
import json
import os
from collections.abc import Iterator

import pytest

from tests.fixtures.gnupg import Gnupg, gnupg
from tests.unit.openpgp.material import GOLDEN, decrypt, encrypt, golden_cipher
from walpy.errors import DataCorrupt
from walpy.openpgp.cipher import OpenPgpCipher
from walpy.openpgp.describe import describe

PLAIN = b"archived\r\n" * 60
PASSPHRASE = "open sesame"
MESSAGES = {
    name: base64.b64decode(text)
    for name, text in json.loads((GOLDEN / "gpg-ocb" / "messages.json").read_text("utf-8")).items()
}
SIZES = [0, 63, 64, 65, 5000, (4 << 20) - 1, 4 << 20, (4 << 20) + 1]  # around chunks of 64 bytes and of 4 MiB


@pytest.mark.parametrize("name", MESSAGES)
@pytest.mark.parametrize("size", [1, 100, 1 << 20])
def test_golden_messages(name: str, size: int) -> None:
    assert "AEAD packet 20" in str(describe(MESSAGES[name]))
    assert decrypt(golden_cipher("gpg-ocb", PASSPHRASE), MESSAGES[name], size) == PLAIN


@pytest.mark.parametrize("name", MESSAGES)
def test_changed_golden_messages(name: str) -> None:
    cipher, data = golden_cipher("gpg-ocb", PASSPHRASE), MESSAGES[name]
    for place in range(len(data) - 60, len(data)):
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises(DataCorrupt):
            decrypt(cipher, changed)
        with pytest.raises(DataCorrupt):
            decrypt(cipher, data[:place])


@pytest.fixture(scope="module")
def gpg() -> Iterator[Gnupg]:
    with gnupg() as found:
        if found.version < (2, 3):
            pytest.skip(f"gpg {'.'.join(map(str, found.version))} does not write OCB")
        yield found


@pytest.fixture(scope="module")
def key(gpg: Gnupg) -> str:
    return gpg.make_key("Type: EDDSA;Curve: ed25519;Usage: sign", "Type: ECDH;Curve: cv25519;Usage: encrypt")


@pytest.mark.parametrize("chunk", ["6", "22"])
@pytest.mark.parametrize("compression", ["none", "zlib"])
def test_gpg_both_ways(gpg: Gnupg, key: str, chunk: str, compression: str) -> None:
    cipher = OpenPgpCipher.from_key(gpg.export_secret(key))
    for size in SIZES:
        plain = os.urandom(size)
        options = ("--force-ocb", "--chunk-size", chunk, "--compress-algo", compression)
        assert decrypt(cipher, gpg.run(*options, "--encrypt", "-r", key, data=plain), 100_000) == plain
        assert gpg.run("--decrypt", data=encrypt(cipher, plain)) == plain
