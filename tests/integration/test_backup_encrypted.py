"""A whole life with a key: WAL and a backup, made by worker processes, restored and recovered, and damaged."""

import base64
from pathlib import Path

import pytest

from tests.fixtures.ciphers import AwsServer, serving
from tests.fixtures.cluster import archiving
from tests.fixtures.postgres import ClusterFactory
from tests.fixtures.recovery import archive_all, recover_fully
from tests.fixtures.yandex import Cloud
from walpy.stream.ciphers import DOORS

CONTENT = "select sum(hashtext(t::text)) from t"
LIBSODIUM = {"WALG_LIBSODIUM_KEY": "a key of more than twenty-five bytes"}
AWS = {
    "WALG_CSE_KMS_ID": "alias/archive",
    "WALG_CSE_KMS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "y",
}
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "openpgp"
KEY = (GOLDEN / "cv25519" / "key.asc").read_bytes()
OPENPGP = {"WALG_PGP_KEY": KEY.decode().replace("\n", "\\n")}
WRAPPED_KEY = b"what the key service made of the OpenPGP key"
ENVELOPE = {
    "WALG_ENVELOPE_PGP_KEY": base64.b64encode(WRAPPED_KEY).decode(),
    "WALG_ENVELOPE_PGP_YC_CSE_KMS_KEY_ID": "key-1",
}
YANDEX = {"YC_CSE_KMS_KEY_ID": "key-1"}
LZ4 = b"\x04\x22\x4d\x18"


@pytest.mark.parametrize(
    "keys",
    [LIBSODIUM, AWS, YANDEX, ENVELOPE, OPENPGP],
    ids=["libsodium", "AWS KMS", "Yandex KMS", "envelope", "OpenPGP"],
)
def test_backup_wal_and_recovery(keys: dict[str, str], make_cluster: ClusterFactory, archive_folder: Path) -> None:
    with serving(AwsServer()) as server, serving(Cloud()) as cloud:
        cloud.wrapped[WRAPPED_KEY] = KEY
        settings, environment = archiving(archive_folder)
        environment |= {
            "WALPY_REQUIRE_ENCRYPTION": "true",
            "AWS_ENDPOINT_URL_KMS": server.url,
            **cloud.settings(),
            **keys,
        }
        cluster = make_cluster(settings=settings, environment=environment)
        cluster.execute("create table t as select i, md5(i::text) from generate_series(1, 20000) i")
        cluster.walpy(
            *("backup-push", str(cluster.data_directory)),
            WALG_TAR_SIZE_THRESHOLD="4000000",
            WALG_UPLOAD_DISK_CONCURRENCY="2",
        )
        cluster.execute("insert into t select i, 'later' from generate_series(1, 1000) i")
        archive_all(cluster)
        data = list(archive_folder.rglob("*.lz4"))
        assert len(data) > 6
        assert not any(path.read_bytes().startswith(LZ4) for path in data)
        restored = make_cluster(initdb=False, environment=cluster.environment)
        restored.walpy("backup-fetch", str(restored.data_directory), "LATEST")
        recover_fully(restored, {**settings, "archive_mode": "off"})
        assert restored.execute(CONTENT) == cluster.execute(CONTENT)
        asked = {"AWS KMS": server.requests, "Yandex KMS": cloud.requests, "envelope OpenPGP": cloud.requests}
        door = next(door.name for door in DOORS if any(key in keys for key in door.settings))
        assert bool(asked.get(door)) == (door in asked)


def test_a_damaged_part_fails_the_restore_by_name(make_cluster: ClusterFactory, archive_folder: Path) -> None:
    settings, environment = archiving(archive_folder)
    cluster = make_cluster(settings=settings, environment=environment | LIBSODIUM)
    cluster.walpy("backup-push", str(cluster.data_directory))
    (part,) = archive_folder.rglob("part_001.tar.lz4")
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    restored = make_cluster(initdb=False, environment=cluster.environment)
    result = restored.walpy("backup-fetch", str(restored.data_directory), "LATEST", check=False)
    assert result.returncode == 1
    assert "part_001.tar.lz4' is damaged: frame " in result.stderr
    assert not (restored.data_directory / "global" / "pg_control").exists()
