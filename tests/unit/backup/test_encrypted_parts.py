"""Parts of an encrypted backup: extracted, or refused by name when anything about them was changed."""

import random
from pathlib import Path

import pytest

from tests.fixtures.ciphers import CIPHERS, KEY, sealed
from tests.fixtures.stored_backup import FILES, StoredBackup
from tests.unit.openpgp.material import golden_cipher
from tests.unit.openpgp.test_tampering import mutated
from walpy.archive import open_archive
from walpy.backup.extract import ExtractPlan, PartJob, PartResult, extract_part, start_worker, work_here
from walpy.backup.rate_limits import MeasuredSleep
from walpy.config import Setting
from walpy.errors import DataCorrupt, WrongKey
from walpy.stream.sodium import SodiumCipher

SETTINGS = {"WALG_LIBSODIUM_KEY": KEY.hex(), "WALG_LIBSODIUM_KEY_TRANSFORM": "hex"}


class EncryptedBackup:
    """A stored backup whose data tar is encrypted."""

    def __init__(self, folder: Path, method: str) -> None:
        self.folder = folder / "archive"
        self.folder.mkdir()
        self.stored = StoredBackup(self.folder, method=method).store()
        self.path = self.stored.object("part_001")
        self.path.write_bytes(sealed(SodiumCipher(KEY), self.path.read_bytes()))

    def extract(self, destination: Path, **settings: str) -> PartResult:
        destination.mkdir(exist_ok=True)
        chosen = {key: Setting(value, "test") for key, value in (SETTINGS | settings).items()}
        start_worker(self.stored.config.with_settings(chosen), ExtractPlan(str(destination)))
        extension = self.path.suffix.removeprefix(".").removeprefix("tar")
        return extract_part(PartJob(str(self.path.relative_to(self.folder)), extension), lambda count: None)


@pytest.fixture(params=["lz4", "zstd", "brotli", "lzma", "none"])
def backup(request: pytest.FixtureRequest, tmp_path: Path) -> EncryptedBackup:
    return EncryptedBackup(tmp_path, request.param)


def test_every_codec(backup: EncryptedBackup, tmp_path: Path) -> None:
    result = backup.extract(tmp_path / "data")
    assert set(result.files) == {name.strip("/") for name in FILES}
    for name, data in FILES.items():
        assert (tmp_path / "data" / name.strip("/")).read_bytes() == data


@pytest.mark.parametrize("name", ["OpenPGP", "AWS KMS"])
def test_changed_parts_are_told_by_name_with_other_ciphers(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    stored = StoredBackup(folder, method="lz4").store()
    path = stored.object("part_001")
    cipher = CIPHERS[name]() if name in CIPHERS else golden_cipher("cv25519")
    archive = open_archive(stored.config)
    archive.__dict__["cipher"] = cipher
    content, chance = sealed(cipher, path.read_bytes()), random.Random(name)
    for number in range(60):
        work_here(archive, MeasuredSleep(), ExtractPlan(str(tmp_path)))
        path.write_bytes(mutated(content[:600], chance) + content[600:] if number % 2 else mutated(content, chance))
        if path.read_bytes() != content:
            with pytest.raises(DataCorrupt, match=r"part '.*/part_001\.tar\.lz4' "):
                extract_part(PartJob(str(path.relative_to(folder)), "lz4"), lambda count: None)


def test_changed_parts_are_told_by_name(backup: EncryptedBackup, tmp_path: Path) -> None:
    content = backup.path.read_bytes()
    draw = random.Random(11)
    for number in range(60):
        changed = bytearray(content)
        if number % 2:
            changed[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        else:
            del changed[draw.randrange(len(content)) :]
        backup.path.write_bytes(changed)
        with pytest.raises(DataCorrupt, match=r"part '.*/part_001\.tar(\.\w+)?' is damaged: .*libsodium"):
            backup.extract(tmp_path / f"data{number}")


@pytest.mark.parametrize("cut", [1, 16, 17, 18])
def test_a_missing_end_is_noticed_although_the_tar_is_whole(backup: EncryptedBackup, tmp_path: Path, cut: int) -> None:
    """Also where the last frame is empty, and holds nothing that the tar would miss."""
    backup.path.write_bytes(backup.path.read_bytes()[:-cut])
    with pytest.raises(DataCorrupt, match="libsodium"):
        backup.extract(tmp_path / "data")


def test_the_hint_tells_what_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    backup = EncryptedBackup(tmp_path, "lz4")
    with pytest.raises(DataCorrupt) as caught:
        backup.extract(tmp_path / "data", WALG_LIBSODIUM_KEY=bytes(32).hex())
    assert "another key" in caught.value.hint
    with pytest.raises(DataCorrupt) as caught:
        backup.extract(tmp_path / "data", WALG_LIBSODIUM_KEY="")
    assert "WALG_LIBSODIUM_KEY" in caught.value.hint
    StoredBackup(backup.folder).store()
    caplog.clear()
    with pytest.raises(
        WrongKey, match=r"part '.*/part_001\.tar\.lz4' is plain, lz4, and the settings are for libsodium"
    ) as caught:
        backup.extract(tmp_path / "data")
    assert "It is plain, lz4, not encrypted" in caught.value.hint
    assert "trying it again" not in caplog.text
