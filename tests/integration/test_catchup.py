"""catchup-push on a primary, catchup-fetch on a standby that is too far behind to stream."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.cluster import DEFAULT_MAJOR, Cluster, unprivileged
from tests.fixtures.lagging import Pair, lagging_pair
from tests.fixtures.postgres import ClusterFactory
from tests.fixtures.recovery import WAIT_SECONDS

pytestmark = pytest.mark.slow
SLOW = {"WALG_NETWORK_RATE_LIMIT": "100000"}  # bytes a second


@pytest.fixture
def pair(make_cluster: ClusterFactory, archive_folder: Path) -> Pair:
    """WALPY_MAJOR=18 tries another version."""
    return lagging_pair(make_cluster, archive_folder, major=int(os.environ.get("WALPY_MAJOR", DEFAULT_MAJOR)))


def stored(archive_folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sentinel and list of files of the only catchup."""
    (sentinel,) = (archive_folder / "catchup_005").glob("*_backup_stop_sentinel.json")
    files = sentinel.parent / sentinel.name.removesuffix("_backup_stop_sentinel.json") / "files_metadata.json"
    return json.loads(sentinel.read_text()), json.loads(files.read_text())


def push(pair: Pair) -> str:
    return pair.primary.walpy("catchup-push", str(pair.primary.data_directory), "--from-lsn", pair.position).stderr


def test_a_standby_catches_up(pair: Pair, archive_folder: Path) -> None:
    assert len({word for word in push(pair).split() if word.startswith("base_")}) == 1  # scripts look for the name
    sentinel, files = stored(archive_folder)
    known = files["Files"]
    assert (sentinel["DeltaFrom"], sentinel["DeltaFullName"], sentinel["DeltaCount"]) == ("", "", 1)
    increments = {name for name, entry in known.items() if entry["IsIncremented"]}
    kept, filed = (pair.primary.execute("select pg_relation_filepath('kept')", name) for name in ("postgres", "filed"))
    assert f"/{kept}" in increments
    assert f"/{filed}" in known
    assert f"/{filed}" not in increments  # copied with old pages: the standby has none of them
    assert not {"/postgresql.conf", "/postgresql.auto.conf", "/pg_hba.conf"} & known.keys()
    before = pair.standby.walpy("catchup-list", "--detail", "--json")
    assert json.loads(before.stdout)[0]["start_lsn"] == sentinel["LSN"]

    result = pair.standby.walpy("catchup-fetch", str(pair.standby.data_directory), "LATEST")
    assert "Removed" in result.stderr
    assert (pair.standby.data_directory / "pg_ident.conf").read_text() == "# the standby's own\n"
    assert (pair.standby.data_directory / "pg_tblspc" / pair.old_oid).readlink() == pair.standby.base / "old"
    pair.check_caught_up()


def fetch(pair: Pair, name: str = "LATEST", **environment: str) -> str:
    """What a failing catchup-fetch says."""
    result = pair.standby.walpy("catchup-fetch", str(pair.standby.data_directory), name, check=False, **environment)
    assert result.returncode == 1
    return result.stderr


def test_what_does_not_fit_is_refused_and_an_interrupted_catchup_goes_on(pair: Pair, archive_folder: Path) -> None:
    directory = pair.standby.data_directory
    ahead = pair.primary.walpy("catchup-push", str(pair.primary.data_directory), "--from-lsn", "9/0", check=False)
    assert "--from-lsn 9/0 is greater than current LSN 0/" in ahead.stderr
    push(pair)
    untouched = contents(directory)
    (path,) = (archive_folder / "catchup_005").glob("*_backup_stop_sentinel.json")
    sentinel, text = json.loads(path.read_text()), path.read_text()
    for key, value, message in (
        ("DeltaLSN", 8 << 32, f"the standby is at {pair.position}, the changes are those since 8/0"),
        ("SystemIdentifier", 1, "the changes are those of 1"),
        ("FinishLSN", 1, "the changes are those up to 0/1"),
    ):
        path.write_text(json.dumps(sentinel | {key: value}))
        assert message in fetch(pair)
    path.write_text(text)
    (directory / "postmaster.pid").touch()
    assert "a server runs" in fetch(pair)
    (directory / "postmaster.pid").unlink()
    assert "does not exist" in fetch(pair, "base_000000010000000000000000")
    assert contents(directory) == untouched

    name = path.name.removesuffix("_backup_stop_sentinel.json")
    kill_when_begun(pair.standby, start(pair.standby, "catchup-fetch", str(directory), name, **SLOW))
    with pytest.raises(RuntimeError):
        pair.standby.start()
    other = f"{name[:-1]}{'0' if name[-1] != '0' else '1'}"
    shutil.copytree(path.parent / name, path.parent / other)
    shutil.copy(path, path.parent / path.name.replace(name, other))
    assert f"a catchup-fetch of {name} into" in fetch(pair, other)
    again = pair.standby.walpy("catchup-fetch", str(directory), name)
    assert "Going on with the catchup that did not end" in again.stderr
    assert not list((directory / "global").glob("pg_control.*"))
    pair.check_caught_up()


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def start(cluster: Cluster, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    """Start the walpy under test as the server's user, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "walpy", *arguments],
        cwd=cluster.base,
        env=cluster.process_environment() | environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **unprivileged(),  # type: ignore[call-overload]
    )


def kill_when_begun(standby: Cluster, process: "subprocess.Popen[str]") -> None:
    """Kill a walpy, with its workers, once pg_control is set aside and files are being written."""
    control = standby.data_directory / "global" / "pg_control"
    deadline = time.monotonic() + WAIT_SECONDS
    while control.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(1)  # in the middle of what takes ten
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def start_receiver(pair: Pair) -> "tuple[subprocess.Popen[str], str]":
    """Start catchup-receive, and wait until it listens; the place."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{probe.getsockname()[1]}"
    process = start(pair.standby, "catchup-receive", str(pair.standby.data_directory), place)
    assert process.stderr
    for line in process.stderr:
        if "Waiting for catchup-send" in line:
            return process, place
    raise AssertionError(f"catchup-receive exited with {process.wait()}")


def test_a_standby_catches_up_over_the_network(make_cluster: ClusterFactory, archive_folder: Path) -> None:
    pair = lagging_pair(make_cluster, archive_folder, WALG_LIBSODIUM_KEY="a key of more than twenty-five bytes")
    directory, primary = pair.standby.data_directory, pair.primary
    receiver, place = start_receiver(pair)
    sender = start(primary, "catchup-send", str(primary.data_directory), place, **SLOW)
    kill_when_begun(pair.standby, receiver)
    assert "broke" in sender.communicate()[1]
    assert sender.returncode == 1
    with pytest.raises(RuntimeError):
        pair.standby.start()
    primary.execute("create table meanwhile as select 1 i")

    receiver, place = start_receiver(pair)
    sent = primary.walpy("catchup-send", str(primary.data_directory), place, check=False)
    heard = receiver.communicate()[1]
    assert "Send done" in sent.stderr, sent.stderr + heard
    assert receiver.returncode == 0
    assert not list((directory / "global").glob("pg_control.*"))
    assert not list(directory.rglob("*.walpy_catchup"))
    assert (directory / "pg_ident.conf").read_text() == "# the standby's own\n"
    pair.check_caught_up()
