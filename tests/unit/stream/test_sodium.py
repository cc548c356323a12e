"""libsodium's secretstream: WAL-G's framing, seen by libsodium's own binding, and WAL-G's keys."""

import gc
import logging
import os
from pathlib import Path

import pytest
from nacl import bindings

from tests.fixtures.ciphers import KEY, opened, sealed
from walpy.config import Config
from walpy.errors import ConfigError, DataCorrupt
from walpy.storage.base import Chunk
from walpy.stream.sodium import HEADER_SIZE, PLAIN_SIZE, SEALED_SIZE, SodiumCipher, from_config

MESSAGE, PUSH, REKEY, FINAL = 0, 1, 2, 3


def pulled(stored: bytes, key: bytes = KEY) -> list[tuple[bytes, int]]:
    """Frames and tags, as the binding that PyNaCl publishes reads them."""
    state = bindings.crypto_secretstream_xchacha20poly1305_state()
    bindings.crypto_secretstream_xchacha20poly1305_init_pull(state, stored[:HEADER_SIZE], key)
    frames = [stored[start : start + SEALED_SIZE] for start in range(HEADER_SIZE, len(stored), SEALED_SIZE)]
    return [bindings.crypto_secretstream_xchacha20poly1305_pull(state, frame) for frame in frames]


def pushed(*frames: tuple[bytes, int]) -> bytes:
    """An object as another program writes it."""
    state = bindings.crypto_secretstream_xchacha20poly1305_state()
    stored = bindings.crypto_secretstream_xchacha20poly1305_init_push(state, KEY)
    for plain, tag in frames:
        stored += bindings.crypto_secretstream_xchacha20poly1305_push(state, plain, tag=tag)
    return stored


@pytest.mark.parametrize("size", [0, 1, PLAIN_SIZE - 1, PLAIN_SIZE, PLAIN_SIZE + 1, 2 * PLAIN_SIZE, 100_000])
def test_the_binding_reads_what_is_written(size: int) -> None:
    plain = os.urandom(size)
    frames = pulled(sealed(SodiumCipher(KEY), plain))
    assert b"".join(content for content, _ in frames) == plain
    assert [tag for _, tag in frames] == [MESSAGE] * (size // PLAIN_SIZE) + [FINAL]
    assert len(frames[-1][0]) == size % PLAIN_SIZE  # WAL-G refuses a final frame that is full


@pytest.mark.parametrize(("size", "stored"), [(8192, 8250), (16384, 16459), (1, 42), (0, 41)])
def test_sizes_are_wal_g_s(size: int, stored: int) -> None:
    assert len(sealed(SodiumCipher(KEY), bytes(size))) == stored


def test_what_the_binding_writes_is_read() -> None:
    frames = [(bytes([number]) * PLAIN_SIZE, MESSAGE) for number in range(3)]
    plain = b"".join(content for content, _ in frames)
    cipher = SodiumCipher(KEY)
    assert opened(cipher, pushed(*frames, (b"end", FINAL))) == plain + b"end"
    assert opened(cipher, pushed(*frames, (b"", FINAL))) == plain
    assert opened(cipher, pushed(*frames[:2], (frames[2][0], FINAL))) == plain  # another program's


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([(bytes(PLAIN_SIZE), MESSAGE)], "truncated"),
        ([(b"short", MESSAGE)], "truncated"),
        ([(bytes(PLAIN_SIZE), FINAL), (b"more", FINAL)], "other data follow"),
        ([(bytes(PLAIN_SIZE), PUSH), (b"", FINAL)], "frame 0 .* has the unknown tag 1"),
        ([(bytes(PLAIN_SIZE), MESSAGE), (b"x", REKEY)], "frame 1 .* has the unknown tag 2"),
    ],
)
def test_streams_that_no_writer_ends_so(frames: list[tuple[bytes, int]], message: str) -> None:
    with pytest.raises(DataCorrupt, match=message):
        opened(SodiumCipher(KEY), pushed(*frames))


def test_what_wal_g_makes_of_nothing_is_refused() -> None:
    """17 bytes without a header, which nobody can read."""
    with pytest.raises(DataCorrupt, match="too short"):
        opened(SodiumCipher(KEY), bytes(17))


# ---- keys


def key_of(text: str, transform: str = "none") -> bytes:
    config = Config.from_mapping({"WALG_LIBSODIUM_KEY": text, "WALG_LIBSODIUM_KEY_TRANSFORM": transform})
    return from_config(config)._key


def test_a_key_without_transform_is_filled_up_or_cut() -> None:
    assert key_of("x" * 25) == b"x" * 25 + bytes(7)
    assert key_of("x" * 40) == b"x" * 32
    assert key_of("ä" * 16) == "ä".encode() * 16


def test_keys_of_the_transforms() -> None:
    assert key_of(KEY.hex(), "hex") == key_of(KEY.hex().upper(), "hex") == KEY
    assert key_of("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "base64") == KEY


@pytest.mark.parametrize(
    ("text", "transform", "message"),
    [
        ("secret" * 4, "none", "it has 24 bytes, and needs at least 25"),
        ("secret" * 12, "hex", "it is not hexadecimal"),
        ("aabbcc", "hex", "it stands for 3 bytes, and must stand for 32"),
        ("secret!", "base64", "it is not base64"),
        ("c2VjcmV0", "base64", "it stands for 6 bytes"),
        ("secret" * 6, "rot13", "expected one of none, base64, hex"),
    ],
)
def test_wrong_keys_are_told_without_showing_them(text: str, transform: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        key_of(text, transform)
    assert text not in f"{caught.value} {caught.value.hint} {caught.value.args}"
    assert caught.value.__context__ is None or text not in str(caught.value.__context__)


def test_a_key_file_is_trimmed_and_the_inline_key_wins(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"  {KEY.hex()}\n\n")
    path.chmod(0o600)
    settings = {"WALG_LIBSODIUM_KEY_PATH": str(path), "WALG_LIBSODIUM_KEY_TRANSFORM": "hex"}
    assert from_config(Config.from_mapping(settings))._key == KEY
    settings["WALG_LIBSODIUM_KEY"] = bytes(32).hex()
    assert from_config(Config.from_mapping(settings))._key == bytes(32)


def test_a_key_file_that_others_can_read_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "key"
    path.write_text("a key of more than twenty-five bytes")
    config = Config.from_mapping({"WALG_LIBSODIUM_KEY_PATH": str(path)})
    for mode, count in ((0o600, 0), (0o640, 1), (0o604, 2)):
        path.chmod(mode)
        with caplog.at_level(logging.WARNING):
            from_config(config)
        assert len(caplog.records) == count
    assert "twenty-five" not in caplog.text


def test_a_key_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the key file '.*/nowhere' of WALG_LIBSODIUM_KEY_PATH: No such"):
        from_config(Config.from_mapping({"WALG_LIBSODIUM_KEY_PATH": str(tmp_path / "nowhere")}))


def test_no_key_is_shown() -> None:
    cipher = SodiumCipher(KEY)
    for shown in (repr(cipher), repr(cipher.encryptor()), repr(cipher.decryptor())):
        assert KEY.hex() not in shown
        assert repr(KEY) not in shown


@pytest.mark.parametrize("place", [30, -5])
def test_an_error_that_waits_for_the_collector_is_collected(place: int) -> None:
    """A memory view that cffi holds on to crashes CPython when it is collected: whole frames, and the last one."""
    changed = bytearray(sealed(SodiumCipher(KEY), bytes(3 * PLAIN_SIZE + 10)))
    changed[place] ^= 1
    for _ in range(20):
        error = failed(changed)
        error.__dict__["itself"] = error
        del error
        gc.collect()


def failed(stored: Chunk) -> DataCorrupt:
    with pytest.raises(DataCorrupt) as caught:
        opened(SodiumCipher(KEY), memoryview(stored))
    return caught.value
