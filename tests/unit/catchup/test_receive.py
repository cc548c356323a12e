"""What catchup-receive lets a sender do, over a real connection; and what a sender lets a receiver lose."""

import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.postgres.test_control import stored
from walpy.backup.increment import encode_head
from walpy.catchup.receive import Receiving, is_wanted
from walpy.catchup.send import gone_names, is_removable
from walpy.catchup.standby import read_standby
from walpy.catchup.wire import Command, Link
from walpy.errors import BackupError, DataCorrupt
from walpy.postgres.control import parse_control
from walpy.postgres.datadir import Entry, Listing, TablespaceLink

PAGE = 8192
LABEL = b"START WAL LOCATION: 0/FF000028 (file 0000000100000000000000FF)\n"
Script = Callable[[Link], None]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name, content in (
        ("PG_VERSION", "14\n"),
        ("base/5/1259", "x" * PAGE),
        ("base/5/777", "x"),
        ("pg_hba.conf", "own"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    (tmp_path / "global").mkdir()
    (tmp_path / "pg_tblspc").mkdir()
    (tmp_path / "global" / "pg_control").write_bytes(stored(14))
    (tmp_path / "tablespace_map").write_text("16384 /elsewhere\n")
    return tmp_path


@pytest.fixture
def receive(directory: Path) -> Iterator[Callable[[Script], None]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ends = [socket.create_connection(server.getsockname()), server.accept()[0]]

    def run(script: Script) -> None:
        sender, receiver = (Link(end, "the other", None) for end in ends)

        def send() -> None:
            script(sender)
            sender.end()

        thread = threading.Thread(target=send)
        thread.start()
        try:
            with closing(Receiving(receiver, read_standby(str(directory)))) as receiving:
                receiving.run()
        finally:
            thread.join()

    yield run
    for end in ends:
        end.close()


def put(link: Link, kind: str, name: str, data: bytes) -> None:
    link.put_command(Command(kind, name, len(data)))
    link.put_bytes(data)


def end(link: Link, control: bytes = b"", label: bytes = LABEL) -> None:
    for name, contents in (
        ("backup_label", label),
        ("tablespace_map", b"16384 /the/servers\n"),
        ("global/pg_control", control or stored(14)),
    ):
        link.put_command(Command("IsBinContents", name, contents=contents))
    link.put_command(Command("IsDone"))


def test_files_pages_and_removals(directory: Path, receive: Callable[[Script], None]) -> None:
    def script(link: Link) -> None:
        put(link, "IsFull", "base/7/1259", b"new" * 100_000)
        put(link, "IsIncremental", "base/5/1259", encode_head(2 * PAGE, [1]) + b"y" * PAGE)
        put(link, "IsFull", "pg_hba.conf", b"the server's")
        put(link, "IsFull", "pg_ident.conf", b"the server's")
        put(link, "IsFull", "pg_wal/000000010000000000000001", b"x")
        link.put_command(Command("IsDelete", names=("base/5/777", "pg_hba.conf", "pg_wal", "base/5/gone")))
        end(link)

    receive(script)
    assert (directory / "base/7/1259").read_bytes() == b"new" * 100_000
    assert stat.S_IMODE((directory / "base/7/1259").stat().st_mode) in (0o600, 0o640)
    assert (directory / "base/5/1259").read_bytes() == b"x" * PAGE + b"y" * PAGE
    assert (directory / "pg_hba.conf").read_text() == "own"
    assert (directory / "backup_label").read_bytes() == LABEL
    for name in ("base/5/777", "pg_ident.conf", "pg_wal", "tablespace_map"):
        assert not (directory / name).exists()
    assert [path.name for path in (directory / "global").iterdir()] == ["pg_control"]


@pytest.mark.parametrize("name", ["../x", "base/../../x", "/etc/passwd", "", "base//x", "./x"])
def test_names_that_lead_elsewhere(name: str, directory: Path, receive: Callable[[Script], None]) -> None:
    with pytest.raises(DataCorrupt, match=r"the sender named|would be written outside"):
        receive(lambda link: put(link, "IsFull", name, b"x"))
    assert not (directory.parent / "x").exists()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (lambda link: end(link, label=b""), "sent no backup_label"),
        (lambda link: end(link, label=b"START WAL LOCATION: 0/28 (file x)\n"), "the standby has reached"),
        (lambda link: end(link, control=stored(15)), "the changes are those of"),
        (lambda link: end(link, control=stored(14)[:-8000]), "wrong checksum|not a pg_control"),
        (
            lambda link: link.put_command(Command("IsBinContents", "postgresql.conf")),
            "the contents of 'postgresql.conf'",
        ),
        (
            lambda link: put(link, "IsIncremental", "base/5/1259", encode_head(4 * PAGE, [1]) + bytes(PAGE)),
            "not all pages",
        ),
        (lambda link: put(link, "IsIncremental", "base/5/1259", b"no increment at all"), "no increment"),
        (lambda link: put(link, "IsFull", "pg_tblspc/16384/PG_14_202107181/5/1", b"x"), "has no tablespace"),
        (lambda link: put(link, "IsFull", "base/5/1", b"x"), "ended the connection too early"),
    ],
)
def test_what_does_not_end_well(
    script: Script, message: str, directory: Path, receive: Callable[[Script], None]
) -> None:
    with pytest.raises((BackupError, DataCorrupt), match=message):
        receive(script)
    control = directory / "global" / "pg_control"
    assert not control.exists() or parse_control(control.read_bytes(), "").state == "in archive recovery"


def test_what_is_lost_is_what_a_backup_would_have() -> None:
    names = ["base/5/1", "base/5/2", "base/9", "base/9/1", "pg_tblspc/1", "pg_hba.conf", "base", "base/5/t3_1"]
    present = [Entry(f"/{name}", "", stat.S_IFREG, 0, 0, 0, 0) for name in ("base/5/1", "base/5", "base")]
    listing = Listing(tuple(present), present[0], (TablespaceLink("1", "/space"),), 0)
    assert gone_names(names, listing) == ["base/9/1", "base/9", "base/5/2"]
    for name in ("global/pg_control.catchup.0.receive", "pg_wal/1", "base/../x", "own/x", "base/pgsql_tmp/x"):
        assert not is_removable(name)
        assert name.startswith(("own", "base/..")) or not is_wanted(name)
