"""An encrypted archive: what is stored, what is noticed, and what is said about it."""

import io
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures.ciphers import CIPHERS, opened
from walpy import objects
from walpy.archive import Archive, open_archive, open_stored
from walpy.config import Config
from walpy.errors import ConfigError, DataCorrupt, StorageError
from walpy.inspecting import inspect_object
from walpy.stream.codecs import METHODS
from walpy.stream.parallel import Helpers
from walpy.wal.files import SourceFile

NAME = "000000010000000000000001"
KEY = {"WALG_LIBSODIUM_KEY": "00" * 32, "WALG_LIBSODIUM_KEY_TRANSFORM": "hex"}
OTHER_KEY = KEY | {"WALG_LIBSODIUM_KEY": "11" * 32}
CONTENT = random.Random(0).randbytes(3000) * 200  # bytes; compresses a little

Open = Callable[..., Archive]


@pytest.fixture
def opens(tmp_path: Path) -> Open:
    def opens(**settings: str) -> Archive:
        return open_archive(Config.from_mapping({"WALG_FILE_PREFIX": str(tmp_path), **settings}))

    return opens


def read(archive: Archive, name: str = NAME) -> bytes:
    with archive.open_wal(name) as chunks:
        return b"".join(bytes(chunk) for chunk in chunks)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("helpers", [0, 2])
def test_wal_is_compressed_then_encrypted(opens: Open, tmp_path: Path, method: str, helpers: int) -> None:
    archive = opens(WALG_COMPRESSION_METHOD=method, **KEY)
    archive._helpers = Helpers(helpers)
    (tmp_path / NAME).write_bytes(CONTENT)
    with SourceFile(str(tmp_path / NAME)) as source:
        stored = archive.put_wal_file(NAME, source)
    content = (tmp_path / stored.name).read_bytes()
    assert (stored.size, stored.stored_size) == (len(CONTENT), len(content))
    assert archive.cipher is not None
    compressed = opened(archive.cipher, content)
    (tmp_path / stored.name).write_bytes(compressed)
    assert read(opens()) == CONTENT
    (tmp_path / stored.name).write_bytes(content)
    for reader in ("lz4", "none"):
        assert read(opens(WALG_COMPRESSION_METHOD=reader, **KEY)) == CONTENT


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CIPHERS)
def test_a_missing_end_is_noticed_behind_every_codec(opens: Open, tmp_path: Path, name: str, method: str) -> None:
    """Also where the codec has seen its own end: an attacker cuts where he likes."""
    archive = opens(WALG_COMPRESSION_METHOD=method)
    archive.__dict__["cipher"] = CIPHERS[name]()
    for size in (1, 8192, 65536, 70_000, 131_072):
        stored = archive.put_wal(NAME, [random.Random(size).randbytes(size)], create_only=False)
        path = tmp_path / stored.name
        content = path.read_bytes()
        for cut in (1, 16, 17, 18, 33, 8209, 65_568):
            if cut < len(content):
                path.write_bytes(content[:-cut])
                with pytest.raises(DataCorrupt, match=rf"object '{stored.name}' is damaged: "):
                    read(archive)


def test_damage_names_the_object(opens: Open, tmp_path: Path) -> None:
    archive = opens(**KEY)
    path = tmp_path / archive.put_wal(NAME, [CONTENT]).name
    content = path.read_bytes()
    draw = random.Random(5)
    for _ in range(500):
        changed = bytearray(content)
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
        path.write_bytes(changed)
        with pytest.raises(DataCorrupt, match=rf"object 'wal_005/{NAME}\.lz4' is damaged: "):
            read(archive)


def hint_of(archive: Archive) -> str:
    with pytest.raises(DataCorrupt) as caught:
        read(archive)
    return caught.value.hint


def test_what_cannot_be_read_is_told_by_its_kind(opens: Open) -> None:
    opens(**KEY).put_wal(NAME, [CONTENT])
    assert "another key" in hint_of(opens(**OTHER_KEY))
    assert "WALG_LIBSODIUM_KEY" in hint_of(opens())
    opens().put_wal(NAME, [CONTENT], create_only=False)
    assert "It is plain, lz4, not encrypted" in hint_of(opens(**KEY))
    aws = opens()
    aws.__dict__["cipher"] = CIPHERS["AWS KMS"]()
    aws.put_wal(NAME, [CONTENT], create_only=False)
    for reader in (opens(), opens(**KEY)):
        assert "WALG_CSE_KMS_ID would read it" in hint_of(reader)


def test_documents_stay_plain(opens: Open, tmp_path: Path) -> None:
    archive = opens(**KEY)
    archive.put_json("walpy_005/identity.json", {"a": 1})
    assert (tmp_path / "walpy_005/identity.json").read_bytes() == b'{"a":1}'
    assert archive.get_json("walpy_005/identity.json") == {"a": 1}


def test_names_and_documents_need_no_key(opens: Open) -> None:
    archive = opens(WALG_PGP_KEY_PATH="/nowhere")
    assert archive.find_wal(NAME) is None
    archive.put_json("walpy_005/identity.json", {})
    with pytest.raises(ConfigError, match="WALG_PGP_KEY_PATH"):
        archive.put_wal(NAME, [CONTENT])
    assert archive.find_wal(NAME) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"WALG_LIBSODIUM_KEY": "short"}, "WALG_LIBSODIUM_KEY"),
        ({"WALG_LIBSODIUM_KEY_PATH": "/nowhere"}, "WALG_LIBSODIUM_KEY_PATH"),
        ({"GPG_KEY_ID": "AABB"}, "key AABB from gpg"),
    ],
)
def test_a_wrong_key_is_told_before_anything_is_written(
    opens: Open, tmp_path: Path, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        opens(**settings).put_wal(NAME, [CONTENT])
    assert list(tmp_path.rglob("*.lz4")) == []


def test_plain_data_where_they_are_forbidden(opens: Open, tmp_path: Path) -> None:
    opens().put_wal(NAME, [CONTENT])
    archive = opens(WALPY_REQUIRE_ENCRYPTION="true")
    writes: list[Callable[[], object]] = [
        lambda: archive.put_wal("000000010000000000000002", [CONTENT]),
        lambda: objects.store_file(archive, io.BytesIO(b"data"), "a/name"),
        archive.check_writable,
    ]
    for write in writes:
        with pytest.raises(ConfigError, match="data would be stored plain, and WALPY_REQUIRE_ENCRYPTION is set"):
            write()
    encrypted = opens(WALPY_REQUIRE_ENCRYPTION="true", **KEY)
    with pytest.raises(ConfigError, match="stored plain"):
        objects.store_file(encrypted, io.BytesIO(b"data"), "a/name", encrypt=False)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [f"{NAME}.lz4"]
    assert read(archive) == CONTENT
    encrypted.put_wal("000000010000000000000002", [CONTENT])
    archive.put_json("walpy_005/identity.json", {})


def test_objects_that_are_only_moved_are_not_decrypted(opens: Open, tmp_path: Path) -> None:
    opens().put_wal(NAME, [CONTENT])
    moved = open_stored(Config.from_mapping({"WALG_FILE_PREFIX": str(tmp_path), **KEY}))
    assert moved.cipher is None
    assert read(moved) == CONTENT


def test_an_equal_file_is_recognised_by_what_is_encrypted(opens: Open, tmp_path: Path) -> None:
    archive = opens(**KEY)
    archive.put_wal(NAME, [CONTENT])
    (tmp_path / NAME).write_bytes(CONTENT)
    with SourceFile(str(tmp_path / NAME)) as source, archive.open_wal(NAME) as chunks:
        assert source.equals(chunks)


# ---- st inspect


def test_inspection_opens_what_it_can(opens: Open) -> None:
    archive = opens(**KEY)
    name = archive.put_wal(NAME, [CONTENT]).name
    text = inspect_object(archive, name)
    assert text.startswith(f"object: {name}\nsize: ")
    assert "\nkeys in hand: libsodium opens all of it\ndecrypted: lz4\n" in text
    assert "keys in hand: none are set\n" in inspect_object(opens(), name)
    assert "keys in hand: do not open it: the libsodium data are not authentic" in inspect_object(
        opens(**OTHER_KEY), name
    )
    assert "keys in hand: do not open it" in inspect_object(opens(WALG_LIBSODIUM_KEY_PATH="/nowhere"), name)


def test_inspection_of_a_large_object_reads_its_beginning(opens: Open, tmp_path: Path) -> None:
    archive = opens(WALG_COMPRESSION_METHOD="none", **KEY)
    name = archive.put_wal(NAME, [bytes(3 << 20)]).name
    assert f"libsodium opens its first {1 << 20} bytes" in inspect_object(archive, name)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-5])
    assert "libsodium opens its first" in inspect_object(archive, name)


def test_inspection_of_plain_and_missing_objects(opens: Open) -> None:
    name = opens().put_wal(NAME, [CONTENT]).name
    assert inspect_object(opens(), name).endswith("stored as: plain, lz4\n")
    assert inspect_object(opens(**KEY), name).endswith("keys in hand: not needed: it is not encrypted\n")
    with pytest.raises(StorageError, match="there is no such object"):
        inspect_object(opens(), "wal_005/nothing")
