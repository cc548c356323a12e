"""The SSH backend on Debian's sshd: the contract, logging in, settings, and what only this backend promises."""

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fixtures.ssh_server import PASSPHRASE, SFTP_SERVER, SshServer, open_ssh
from tests.storage.contract import StorageContract, names
from walpy.config import Config
from walpy.errors import AccessDenied, ConfigError, ObjectMissing, StorageError
from walpy.storage import open_storage
from walpy.storage.base import Storage
from walpy.storage.ssh import from_config
from walpy.storage.ssh_process import SshSettings, arguments


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with SshServer(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(scope="module")
def plain_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    subsystem = f"Subsystem sftp {SFTP_SERVER} -P hardlink,fsync,limits,statvfs"
    with SshServer(tmp_path_factory.mktemp("sshd"), subsystem=subsystem) as server:
        yield server


def files(root: Path) -> list[str]:
    """Every file below a directory, temporary ones too."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


class TestContract(StorageContract):
    """On a server with all of OpenSSH's extensions."""

    many = 1100
    large_size = 17 * (1 << 20) + 13  # more than two segments

    @pytest.fixture
    def storage(self, server: SshServer, tmp_path: Path) -> Iterator[Storage]:
        with open_ssh(server, WALG_SSH_PREFIX=f"ssh://127.0.0.1{tmp_path}") as storage:
            yield storage
            assert files(tmp_path) == names(storage)  # nothing else is left behind


class TestContractWithoutExtensions(StorageContract):
    """On a server that knows the draft alone, but for replacing: small packets, rename as create-only, no fsync."""

    large_size = 9 * (1 << 20) + 13

    @pytest.fixture
    def storage(self, plain_server: SshServer, tmp_path: Path) -> Iterator[Storage]:
        with open_ssh(plain_server, WALG_SSH_PREFIX=f"ssh://127.0.0.1{tmp_path}", WALPY_SSH_FSYNC="false") as storage:
            yield storage
            assert files(tmp_path) == names(storage)


# settings


@pytest.mark.parametrize(
    ("prefix", "sub_folder", "url"),
    [
        ("ssh://host/a/b", "", "ssh://host/a/b"),
        ("ssh://host/a//b/", "/c/", "ssh://host/a//b/c"),
        ("ssh://host/a%20b", "", "ssh://host/a b"),
        ("x://host/a", "", "ssh://host/a"),
    ],
)
def test_prefixes(prefix: str, sub_folder: str, url: str) -> None:
    values = {"WALG_SSH_PREFIX": prefix, "WALG_STORAGE_PREFIX": sub_folder}
    assert open_storage(Config.from_mapping(values)).url == url


@pytest.mark.parametrize(
    "prefix", ["host/path", "ssh://host", "ssh://host/", "ssh:///path", "/path", "ssh://-oX=y/path"]
)
def test_a_prefix_without_host_or_path_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigError, match="WALG_SSH_PREFIX"):
        from_config(Config.from_mapping({"WALG_SSH_PREFIX": prefix}))


@pytest.mark.parametrize(
    ("key", "value"),
    [("WALPY_SSH_HOST_KEY_CHECK", "maybe"), ("WALG_SSH_PORT", "ssh"), ("SSH_PORT", "0"), ("WALPY_SSH_FSYNC", "so")],
)
def test_wrong_values_are_refused(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=key):
        from_config(Config.from_mapping({"WALG_SSH_PREFIX": "ssh://host/path", key: value}))


def test_secrets_are_not_on_the_command_line() -> None:
    settings = SshSettings("host", "2222", "user", "/key", "p4ss", "phr4se", "accept-new", "/known hosts")
    words = arguments(settings, 7.2)
    assert not [word for word in words if "p4ss" in word or "phr4se" in word]
    assert words[words.index("-p") + 1] == "2222"
    assert words[-4:] == ["-s", "--", "host", "sftp"]
    expected = {"-oBatchMode=no", "-oStrictHostKeyChecking=accept-new", '-oUserKnownHostsFile="/known hosts"'}
    assert expected | {"-oConnectTimeout=7", "-oIdentitiesOnly=yes"} <= set(words)


def test_without_settings_ssh_decides() -> None:
    words = arguments(SshSettings("host"), 10)
    assert not {"-p", "-l", "-i"} & set(words)
    assert {"-oBatchMode=yes", "-oStrictHostKeyChecking=yes"} <= set(words)


# logging in


def test_an_unknown_host_key_is_refused(server: SshServer, tmp_path: Path) -> None:
    nobody = tmp_path / "known_hosts"
    nobody.touch()
    with open_ssh(server, WALPY_SSH_KNOWN_HOSTS=str(nobody)) as storage, pytest.raises(AccessDenied) as caught:
        storage.put("a", [b"x"])
    assert "host key" in str(caught.value).lower()
    assert "ssh-keyscan" in caught.value.hint
    assert files(server.archive) == []


def test_a_new_host_key_is_learnt_and_a_changed_one_refused(server: SshServer, tmp_path: Path) -> None:
    learnt = tmp_path / "known hosts"
    new = {"WALPY_SSH_KNOWN_HOSTS": str(learnt), "WALPY_SSH_HOST_KEY_CHECK": "accept-new"}
    with open_ssh(server, **new) as storage:
        assert names(storage) == []
    host, kind, _ = learnt.read_text().split()[:3]
    other = (server.folder / "stranger.pub").read_text().split()[1]
    learnt.write_text(f"{host} {kind} {other}\n")
    with open_ssh(server, **new) as storage, pytest.raises(AccessDenied, match="has changed"):
        names(storage)
    with open_ssh(server, **{**new, "WALPY_SSH_HOST_KEY_CHECK": "none"}) as storage:
        assert names(storage) == []


def test_a_strange_key_is_access_denied(server: SshServer) -> None:
    stranger = str(server.folder / "stranger")
    with open_ssh(server, SSH_PRIVATE_KEY_PATH=stranger) as storage, pytest.raises(AccessDenied) as caught:
        storage.stat("a")
    assert "Permission denied" in str(caught.value)
    assert "SSH_PRIVATE_KEY_PATH" in caught.value.hint


def test_a_key_with_a_pass_phrase(server: SshServer) -> None:
    locked = {"SSH_PRIVATE_KEY_PATH": str(server.folder / "locked")}
    with open_ssh(server, **locked, WALPY_SSH_KEY_PASSPHRASE=PASSPHRASE) as storage:
        assert names(storage) == []
    for wrong in ("", "wrong"):
        with (
            open_ssh(server, **locked, WALPY_SSH_KEY_PASSPHRASE=wrong) as storage,
            pytest.raises(AccessDenied) as caught,
        ):
            names(storage)
        assert PASSPHRASE not in f"{caught.value}"


def test_a_key_of_an_agent(server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(address)], stdout=subprocess.DEVNULL)
    try:
        while not address.exists():
            time.sleep(0.01)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(address))
        subprocess.run(["ssh-add", "-q", str(server.folder / "key")], check=True)
        with open_ssh(server, SSH_PRIVATE_KEY_PATH="") as storage:
            assert names(storage) == []
    finally:
        agent.terminate()
        agent.wait()


def test_without_the_program_it_is_a_config_error(server: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with open_ssh(server) as storage, pytest.raises(ConfigError) as caught:
        storage.stat("a")
    assert "openssh-client" in caught.value.hint


@pytest.mark.parametrize(
    ("subsystem", "message"),
    [
        ("Subsystem other /bin/false", "subsystem request failed"),
        ("Subsystem sftp echo this is no packet at all", "no SFTP server"),
        (f"Subsystem sftp {SFTP_SERVER} -P fsync", "cannot make files durable"),
    ],
)
def test_servers_that_are_no_storage(tmp_path: Path, subsystem: str, message: str) -> None:
    with (
        SshServer(tmp_path, subsystem=subsystem) as server,
        open_ssh(server) as storage,
        pytest.raises(StorageError, match=message) as caught,
    ):
        storage.put("a", [b"x"])
    assert not caught.value.transient
    assert caught.value.hint


# objects


def test_a_missing_root_proves_nothing(server: SshServer, tmp_path: Path) -> None:
    root = tmp_path / "gone"
    with open_ssh(server, WALG_SSH_PREFIX=f"ssh://127.0.0.1{root}", WALG_STORAGE_PREFIX="cluster") as storage:
        calls: list[Callable[[], object]] = [
            lambda: storage.put("a/b", [b"x"]),
            lambda: storage.put("a/b", [b"x"], create_only=True),
            lambda: storage.open("a/b"),
            lambda: storage.stat("a/b"),
            lambda: storage.stat_many(["a/b"]),
            lambda: list(storage.list()),
            lambda: list(storage.list_names("a")),
            lambda: storage.list_folder("a"),
            lambda: storage.delete(["a/b"]),
        ]
        for call in calls:
            with pytest.raises(StorageError, match=f"root directory '{root}' does not exist") as caught:
                call()
            assert type(caught.value) is StorageError
        assert not root.exists()
        root.mkdir()
        assert names(storage) == []
        storage.put("a/b", [b"x"])
    assert files(root) == ["cluster/a/b"]


def test_unfinished_files_are_hidden_and_can_be_discarded(server: SshServer, tmp_path: Path) -> None:
    (tmp_path / "wal_005").mkdir()
    (tmp_path / "wal_005/a.lz4").write_bytes(b"x")
    (tmp_path / "wal_005/b.lz4.tmp.20240229T235959Z-0123456789abcdef").write_bytes(b"half")
    with open_ssh(server, WALG_SSH_PREFIX=f"ssh://127.0.0.1{tmp_path}") as storage:
        assert names(storage) == list(storage.list_names()) == ["wal_005/a.lz4"]
        assert [item.name for item in storage.list_folder("wal_005").objects] == ["wal_005/a.lz4"]
        assert storage.discard_unfinished("wal_005") == 1
        with pytest.raises(StorageError, match="temporary"):
            storage.put("wal_005/b.lz4.tmp.20240229T235959Z-0123456789abcdef", [b"x"])
    assert files(tmp_path) == ["wal_005/a.lz4"]


def test_links_are_followed(server: SshServer, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a").write_bytes(b"12345")
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "b").symlink_to("real/a")
    (tmp_path / "dangling").symlink_to("nowhere")
    with open_ssh(server, WALG_SSH_PREFIX=f"ssh://127.0.0.1{tmp_path}") as storage:
        assert [(item.name, item.size) for item in storage.list()] == [("b", 5), ("folder/a", 5), ("real/a", 5)]
        with pytest.raises(ObjectMissing):
            storage.open("dangling")


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
@pytest.mark.parametrize(("create_only", "naming"), [(False, "rename"), (True, "link")])
def test_file_name_and_folders_are_synced_in_this_order(tmp_path: Path, create_only: bool, naming: str) -> None:
    log = tmp_path / "trace"
    calls = "trace=openat,open,write,pwrite64,fsync,link,linkat,rename,mkdir,unlink"
    with (
        SshServer(tmp_path, subsystem=f"Subsystem sftp strace -f -y -o {log} -e {calls} {SFTP_SERVER}") as server,
        open_ssh(server) as storage,
    ):
        storage.put("new/a.lz4", [b"x" * 100_000], create_only=create_only)
    archive, done = re.escape(str(server.archive)), []
    steps = {
        rf"mkdir\(.*{archive}/new\"": "mkdir",
        rf"fsync\(\d+<{archive}>\)": "sync root",
        rf"write\(\d+<{archive}/new/a.lz4.tmp": "write",
        rf"fsync\(\d+<{archive}/new/a.lz4.tmp": "sync file",
        rf"{naming}(?:at)?\(.*/new/a.lz4\"": "name",
        rf"fsync\(\d+<{archive}/new>\)": "sync folder",
    }
    for line in log.read_text().splitlines():
        if " = -1 " not in line:
            done += [step for pattern, step in steps.items() if re.search(pattern, line)]
    assert [step for number, step in enumerate(done) if done[number - 1 : number] != [step]] == list(steps.values())
