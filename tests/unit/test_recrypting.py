"""st copy --decrypt-source, --encrypt-source: what WAL-G encrypted becomes plain or another key's, documents stay."""

import json
from pathlib import Path

import pytest

from tests.fixtures.gnupg import gnupg
from tests.fixtures.golden import GOLDEN, golden_archive
from tests.unit.wal.synthetic import FIRST, archive_in, segment
from walpy.archive import Archive
from walpy.cli import main
from walpy.comparing import same_chunks
from walpy.copying import Conflict, CopySummary, copy_objects
from walpy.errors import ConfigError, DataCorrupt, StorageError
from walpy.progress import SilentProgress
from walpy.recrypting import Recryption

KEY = {"WALG_LIBSODIUM_KEY": "00" * 32, "WALG_LIBSODIUM_KEY_TRANSFORM": "hex"}
OTHER_KEY = KEY | {"WALG_LIBSODIUM_KEY": "11" * 32}
PGP = str(GOLDEN / "openpgp/cv25519/key.asc")
SENTINEL = "basebackups_005/base_1_backup_stop_sentinel.json"
TAR = "basebackups_005/base_1/tar_partitions/part_001.tar.lz4"
HISTORY = "00000002.history"
DATA = {FIRST: segment(FIRST), HISTORY: b"1\t0/3000000\tno reason\n"}


def filled(folder: Path, **settings: str) -> Archive:
    """An archive with WAL, a part of a backup, and a document."""
    archive = archive_in(folder, **settings)
    for name, data in DATA.items():
        archive.put_wal(name, [data])
    archive.storage.put(TAR, archive.encode([b"tar " * 1_000_000]))
    archive.put_bytes(SENTINEL, b'{"LSN":1}')
    return archive


def copy(
    source: Archive, target: Archive, prefix: str = "", *, decrypt: bool = True, encrypt: bool = True
) -> CopySummary:
    recryption = Recryption(source, target, decrypt=decrypt, encrypt=encrypt)
    return copy_objects(source, target, prefix, SilentProgress(), recryption)


def check(archive: Archive) -> None:
    """It has everything, readable with its own key."""
    for name, data in DATA.items():
        with archive.open_wal(name) as chunks:
            assert b"".join(map(bytes, chunks)) == data
    with archive.open_object(TAR) as chunks:
        assert b"".join(map(bytes, chunks)) == b"tar " * 1_000_000
    assert archive.get_bytes(SENTINEL) == b'{"LSN":1}'


@pytest.mark.parametrize("key", [OTHER_KEY, {"WALG_PGP_KEY_PATH": PGP}], ids=["sodium", "pgp"])
def test_another_key(key: dict[str, str], tmp_path: Path) -> None:
    source, target = filled(tmp_path / "source", **KEY), archive_in(tmp_path / "target", **key)
    assert copy(source, target).copied == 4
    check(target)
    assert copy(source, target) == CopySummary(0, 0, 4)
    assert copy(target, archive_in(tmp_path / "back", **KEY)).copied == 4
    check(archive_in(tmp_path / "back", **KEY))


def test_decrypted_and_encrypted_again(tmp_path: Path) -> None:
    source, plain = filled(tmp_path / "source", **KEY), archive_in(tmp_path / "plain")
    copy(source, plain, encrypt=False)
    check(plain)
    encrypted = archive_in(tmp_path / "encrypted", **KEY)
    copy(plain, encrypted, decrypt=False)
    check(encrypted)
    assert encrypted.get_bytes(TAR) != plain.get_bytes(TAR)


def test_what_wal_g_encrypted(tmp_path: Path) -> None:
    golden = golden_archive("walg-sodium").copy(tmp_path / "golden")
    key = {"WALG_LIBSODIUM_KEY_PATH": str(golden / "key.hex"), "WALG_LIBSODIUM_KEY_TRANSFORM": "hex"}
    source, plain = archive_in(golden / "archive", **key), archive_in(tmp_path / "plain")
    copy(source, plain, encrypt=False)
    names = list(source.storage.list_names())
    assert sorted(plain.storage.list_names()) == sorted(names)
    for name in names:
        if name.endswith(".json"):
            assert plain.get_bytes(name) == source.get_bytes(name)
            continue
        assert plain.get_bytes(name) != source.get_bytes(name)
        with source.open_object(name) as ours, plain.open_object(name) as theirs:
            assert same_chunks(ours, theirs)


def test_nothing_is_encrypted_twice(tmp_path: Path) -> None:
    for number, key in enumerate([KEY, {"WALG_PGP_KEY_PATH": PGP}]):
        source = filled(tmp_path / f"source{number}", **key)
        with pytest.raises(StorageError, match="it would be encrypted twice"):
            copy(source, archive_in(tmp_path / "target", **OTHER_KEY), "wal_005", decrypt=False)
    assert list(archive_in(tmp_path / "target").storage.list("wal_005")) == []


def test_another_content_ends_it_before_anything_is_written(tmp_path: Path) -> None:
    source, target = filled(tmp_path / "source", **KEY), archive_in(tmp_path / "target", **OTHER_KEY)
    target.put_wal(HISTORY, [b"other"])
    with pytest.raises(Conflict, match=rf"{HISTORY}\.lz4.*the contents differ"):
        copy(source, target)
    assert len(list(target.storage.list())) == 1


def test_damage_and_wrong_keys_store_nothing(tmp_path: Path) -> None:
    source, target = filled(tmp_path / "source", **KEY), archive_in(tmp_path / "target")
    with pytest.raises(DataCorrupt, match=r"object .* is damaged"):
        copy(archive_in(tmp_path / "source", **OTHER_KEY), target, "wal_005", encrypt=False)
    path = tmp_path / "source" / TAR
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataCorrupt, match=r"part_001\.tar\.lz4' is damaged"):
        copy(source, target, TAR, encrypt=False)
    assert list(target.storage.list()) == []


def test_a_key_that_only_encrypts_goes_on_where_it_was(tmp_path: Path) -> None:
    public = tmp_path / "public.asc"
    with gnupg() as keyring:
        keyring.run("--import", PGP)
        public.write_bytes(keyring.run("--armor", "--export"))
    source = filled(tmp_path / "source")
    target = archive_in(tmp_path / "target", WALG_PGP_KEY_PATH=str(public))
    assert copy(source, target, "wal_005", decrypt=False).copied == 2
    assert copy(source, target, decrypt=False) == CopySummary(2, source.storage.stat(TAR).size + 9, 2)
    check(archive_in(tmp_path / "target", WALG_PGP_KEY_PATH=PGP))


def test_keys_that_are_missing(tmp_path: Path) -> None:
    plain, keyed = archive_in(tmp_path / "plain"), archive_in(tmp_path / "keyed", **KEY)
    with pytest.raises(ConfigError, match="--decrypt-source: no key is set"):
        copy(plain, keyed)
    with pytest.raises(ConfigError, match="--encrypt-source: no key is set"):
        copy(keyed, plain)
    with pytest.raises(ConfigError, match="data would be stored plain"):
        copy(keyed, archive_in(tmp_path / "strict", WALPY_REQUIRE_ENCRYPTION="true"), encrypt=False)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path / "source", **KEY)
    (tmp_path / "target").mkdir()
    for name, key in (("source", KEY), ("target", OTHER_KEY)):
        document = {"WALG_FILE_PREFIX": str(tmp_path / name), **key}
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    monkeypatch.setenv("WALG_FILE_PREFIX", "/nowhere")
    words = ["st", "copy", "--from", str(tmp_path / "source.json"), "--to", str(tmp_path / "target.json")]
    assert main([*words, "-d", "-e"]) == 0
    check(archive_in(tmp_path / "target", **OTHER_KEY))
    assert main([*words, "-d", "-e"]) == 0
