"""The envelope cipher as the settings make it, with its key service: how often that is asked, what when it fails."""

import base64
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fixtures.ciphers import serving
from tests.fixtures.yandex import Cloud
from tests.unit.wal.synthetic import FIRST, archive_in, content, segment
from walpy.archive import Archive
from walpy.errors import AccessDenied, ConfigError, DataCorrupt
from walpy.openpgp import envelope

KEYS = Path(__file__).resolve().parents[2] / "golden" / "openpgp"
HOUR = 3600.0

Open = Callable[..., Archive]


class Clock:
    """The time of the key cache."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(envelope, "time", clock)
    return clock


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with serving(Cloud()) as server:
        yield server


@pytest.fixture
def opens(cloud: Cloud, tmp_path: Path) -> Open:
    def opens(key: str = "cv25519", **more: str) -> Archive:
        wrapped = f"{key}, wrapped".encode()
        cloud.wrapped[wrapped] = (KEYS / key / "key.asc").read_bytes()
        settings = {
            "WALG_ENVELOPE_PGP_KEY": base64.b64encode(wrapped).decode(),
            "WALG_ENVELOPE_PGP_YC_CSE_KMS_KEY_ID": "key-1",
            "WALPY_STORAGE_DEADLINE": "0s",
        }
        return archive_in(tmp_path / "archive", **settings, **cloud.settings(), **more)

    return opens


def decryptions(cloud: Cloud) -> int:
    return cloud.requests.count("key-1:decrypt")


def test_a_process_asks_once(opens: Open, cloud: Cloud, clock: Clock) -> None:
    archive = opens()
    assert cloud.requests == []
    archive.check_writable()
    for _ in range(3):
        archive.put_wal(FIRST, [segment(FIRST)], create_only=False)
        assert content(archive, FIRST) == segment(FIRST)
        clock.now += 100 * HOUR
    assert decryptions(cloud) == 1


def test_a_key_is_asked_for_again_when_it_has_expired(opens: Open, cloud: Cloud, clock: Clock) -> None:
    archive = opens(WALG_ENVELOPE_CACHE_EXPIRATION="1h")
    archive.put_wal(FIRST, [segment(FIRST)])
    clock.now += HOUR - 1
    assert content(archive, FIRST) == segment(FIRST)
    assert decryptions(cloud) == 1
    clock.now += 2
    assert content(archive, FIRST) == segment(FIRST)
    assert decryptions(cloud) == 2


def test_an_old_key_serves_while_the_service_fails(
    opens: Open, cloud: Cloud, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    archive = opens(WALG_ENVELOPE_CACHE_EXPIRATION="1h")
    archive.put_wal(FIRST, [segment(FIRST)])
    clock.now += 2 * HOUR
    cloud.failures += [403]
    with caplog.at_level(logging.WARNING):
        assert content(archive, FIRST) == segment(FIRST)
    assert "a key that it decrypted earlier is used" in caplog.text
    cloud.failures += [403]
    with pytest.raises(AccessDenied):
        content(opens(), FIRST)


def test_an_object_is_read_by_the_key_in_its_header(opens: Open) -> None:
    """After a change of the key the old objects are read as before."""
    opens().put_wal(FIRST, [segment(FIRST)])
    assert content(opens("rsa4096"), FIRST) == segment(FIRST)


@pytest.mark.parametrize(
    ("key", "error"),
    [("not wrapped by this service", DataCorrupt), ("no key at all", ConfigError)],
)
def test_what_cannot_be_used_is_told_before_anything_is_stored(
    cloud: Cloud, tmp_path: Path, key: str, error: type[Exception]
) -> None:
    cloud.wrapped[b"no key at all"] = b"-----BEGIN nothing"
    wrapped = base64.b64encode(key.encode()).decode()
    archive = archive_in(
        tmp_path / "archive",
        WALG_ENVELOPE_PGP_KEY=wrapped,
        WALG_ENVELOPE_PGP_YC_CSE_KMS_KEY_ID="key-1",
        **cloud.settings(),
    )
    with pytest.raises(error):
        archive.check_writable()
    assert list((tmp_path / "archive").iterdir()) == []
