"""Trouble with the agent: nothing is lost or acknowledged before it is stored, and no command waits for long."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.agent.agents import SECONDS, Site, wait_for
from tests.unit.wal.synthetic import OTHER_SYSTEM_IDENTIFIER, segment
from walpy.client import SILENCE_SECONDS, socket_path

BURST = int(os.environ.get("WALPY_TEST_BURST", "120"))  # segments; 1000 by hand
ARCHIVERS = 4


class Killer:
    """Ends agents of a site at random moments, by SIGKILL or by making them hang, until it is told to stop."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._chance = random.Random(7)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.kills = 0

    def __enter__(self) -> "Killer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._chance.uniform(0.05, 0.6)):
            for pid in self._site.processes():
                os.kill(pid, signal.SIGKILL)
                self.kills += 1


def forget_start(site: Site) -> None:
    """Let the next command start an agent, as if the last start were long ago."""
    for lock in site.runtime.glob("*/*.lock"):
        os.utime(lock, (1, 1))


def test_a_burst_survives_agents_that_are_killed(site: Site) -> None:
    """Four archivers at once. What a command acknowledges is stored at that moment, whatever happens to the agent."""
    names = site.segments(BURST)
    failures: list[str] = []

    def archive(name: str) -> None:
        result = site.push(name)
        if result.returncode != 0:
            failures.append(result.stderr)
        elif not (site.archive / f"wal_005/{name}.lz4").exists():
            failures.append(f"{name} was acknowledged and is not there")
        forget_start(site)

    with Killer(site) as killer, ThreadPoolExecutor(ARCHIVERS) as archivers:
        list(archivers.map(archive, names))
    assert failures == []
    assert killer.kills > 0
    assert not list(site.data.wal.glob("archive_status/*.ready"))
    assert all(site.stored(name) for name in names[:: max(1, BURST // 20)])


def test_an_agent_that_hangs_is_left_and_ended(site: Site) -> None:
    pid = site.start_agent()
    os.kill(pid, signal.SIGSTOP)
    name = site.segments(1)[0]
    begun = time.monotonic()
    assert site.push(name).returncode == 0
    assert time.monotonic() - begun < SILENCE_SECONDS + SECONDS / 2
    assert site.stored(name)
    wait_for(lambda: pid not in site.processes())


def test_a_late_answer_does_not_replace_a_later_file(site: Site) -> None:
    """The client of a fetch is killed while its agent hangs; when that goes on, the file of the next fetch stays."""
    first, second = site.segments(2)
    for name in (first, second):
        site.push(name)
    pid = site.start_agent()
    os.kill(pid, signal.SIGSTOP)
    client = site.start("wal-fetch", first, "pg_wal/RECOVERYXLOG")
    time.sleep(0.5)
    client.kill()
    client.communicate()
    assert site.run("wal-fetch", second, "pg_wal/RECOVERYXLOG", WALPY_AGENT="off").returncode == 0
    os.kill(pid, signal.SIGCONT)
    wait_for(lambda: bool(site.states()) and site.states()[0]["requests_under_way"] == 0)
    assert (site.data.wal / "RECOVERYXLOG").read_bytes() == (site.data.wal / second).read_bytes()
    wait_for(lambda: not list(site.data.wal.glob(".RECOVERYXLOG*")))


def test_of_agents_that_start_at_once_one_stays(site: Site) -> None:
    names = site.segments(8)
    with ThreadPoolExecutor(len(names)) as archivers:
        results = list(archivers.map(site.push, names))
        forget_start(site)
        results += archivers.map(lambda _: site.run("wal-fetch", "0" * 24, "pg_wal/x"), names)
    assert {result.returncode for result in results} == {0, 74}
    wait_for(lambda: len(site.processes()) == 1)
    time.sleep(0.5)  # a second one would be here by now
    assert len(site.processes()) == 1
    assert len(site.states()) == 1


@pytest.mark.parametrize("obstacle", ["file", "no room"])
def test_without_a_place_for_sockets_commands_work(obstacle: str, site: Site) -> None:
    directory = site.runtime / f"walpy-{os.geteuid()}"
    if obstacle == "file":
        directory.write_text("in the way")
    else:
        site.environment["TMPDIR"] = "/proc/self"  # nothing can be made there
    for name in site.segments(2):
        result = site.push(name)
        assert (result.returncode, "Traceback" in result.stderr) == (0, False)
        assert site.stored(name)
    assert site.processes() == []


def test_what_a_dead_agent_left_is_no_obstacle(site: Site) -> None:
    pid = site.start_agent()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: site.processes() == [])
    assert list(site.runtime.glob("*/*"))
    first, second = site.segments(2)
    assert site.push(first).returncode == 0
    forget_start(site)
    assert site.push(second).returncode == 0
    wait_for(lambda: len(site.states()) == 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_an_agent_ends_by_a_signal_with_code_0(number: signal.Signals, site: Site) -> None:
    """PostgreSQL as process 1 would restart all sessions for a child that dies by a signal."""
    process = _agent_of_ours(site)
    process.send_signal(number)
    assert process.wait(SECONDS) == 0
    assert not [path for path in site.runtime.glob("*/*") if not path.suffix]


def test_a_second_agent_of_a_socket_ends_with_code_1(site: Site) -> None:
    process = _agent_of_ours(site)
    again = _agent_of_ours(site, wait=False)
    assert again.wait(SECONDS) == 1
    assert process.poll() is None
    process.terminate()
    process.wait(SECONDS)


def _agent_of_ours(site: Site, *, wait: bool = True) -> "subprocess.Popen[bytes]":
    """An agent as a child of this process, at a socket that no command looks for."""
    directory = site.runtime / f"walpy-{os.geteuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    program = "from walpy.agent.resident import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", program, str(directory / "agent"), "0"], cwd=site.data.path, env=site.environment
    )
    if wait:
        wait_for((directory / "agent").exists)
    return process


def test_signals_end_the_command_and_not_the_agent(site: Site) -> None:
    pid = site.start_agent()
    os.kill(pid, signal.SIGSTOP)
    push = site.start("wal-push", f"pg_wal/{site.segments(1)[0]}")
    fetch = site.start("wal-fetch", "0" * 24, "pg_wal/RECOVERYXLOG")
    time.sleep(0.5)
    for command in (push, fetch):
        command.send_signal(signal.SIGTERM)
    assert "interrupted by signal 15" in push.communicate()[1]
    assert push.returncode == 1  # more would make the archiver restart itself
    assert fetch.communicate()[1] == ""
    assert fetch.returncode == -signal.SIGTERM  # what PostgreSQL takes for its own request to shut down
    os.kill(pid, signal.SIGCONT)
    wait_for(lambda: len(site.states()) == 1)


def test_a_failure_in_the_middle_of_a_burst_is_told_once_and_at_its_turn(site: Site) -> None:
    site.start_agent()
    names = site.segments(4)
    site.data.add(names[2], segment(names[2], system_identifier=OTHER_SYSTEM_IDENTIFIER), ready=True)
    results = [site.push(name) for name in names]
    assert [result.returncode for result in results] == [0, 0, 1, 0]
    assert "is not archived" in results[2].stderr
    assert not (site.archive / f"wal_005/{names[2]}.lz4").exists()


def test_the_socket_depends_on_all_that_the_work_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WALG_S3_PREFIX", raising=False)
    paths = {socket_path([])}
    monkeypatch.setenv("WALG_S3_PREFIX", "s3://bucket")
    paths.add(socket_path([]))
    paths.add(socket_path(["--config=/x"]))
    paths.add(socket_path(["--config", "/x"]))
    monkeypatch.chdir("/")
    paths.add(socket_path([]))
    assert len(paths) == 5
    monkeypatch.setenv("OLDPWD", "/elsewhere")
    monkeypatch.setenv("PG_GRANDPARENT_PID", "17")
    assert socket_path([]) in paths
