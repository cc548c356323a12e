"""What the machine and its processes did: CPU time and memory, from /proc."""

import os
import platform
import resource
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
CORES = len(os.sched_getaffinity(0))

# A sample is dropped when the rest of the machine used more than this share of one core meanwhile ...
BUSY_CORES = 0.25
# ... and more than /proc/stat, which counts in ticks of each core, can be wrong by.
SLACK_SECONDS = 2 * CORES * TICK_SECONDS


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds up to a moment: of the machine, of the harness and its finished children, of living processes."""

    machine: float
    harness: float
    finished: float
    living: Mapping[int, float]


def machine_seconds(stat: str) -> float:
    """CPU seconds that all cores were not idle, the hypervisor's share included. stat: text of /proc/stat."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.split("\n", 1)[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) * TICK_SECONDS


def process_seconds(stat: str) -> float:
    """CPU seconds of a process and its finished children. stat: text of /proc/PID/stat."""
    fields = stat.rpartition(")")[2].split()  # the name before may hold anything
    return sum(map(int, fields[11:15])) * TICK_SECONDS


def own_seconds(stat: str) -> float:
    """CPU seconds of a process without its children. stat: text of /proc/PID/stat."""
    return sum(map(int, stat.rpartition(")")[2].split()[11:13])) * TICK_SECONDS


def text(path: str) -> str:
    """Content of a file of /proc; empty when the process is gone."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def children_of(pid: int) -> list[int]:
    """Direct children of a process; none when it is gone."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    return [int(child) for thread in threads for child in text(f"/proc/{pid}/task/{thread}/children").split()]


def descendants(pid: int, without: Iterable[int] = ()) -> list[int]:
    """All processes below one, except the trees of `without`."""
    found = [child for child in children_of(pid) if child not in without]
    return found + [below for child in found for below in descendants(child)]


def tree_seconds(roots: Iterable[int]) -> float:
    """CPU seconds of processes and everything below them."""
    pids = {pid for root in roots for pid in (root, *descendants(root))}
    return sum(process_seconds(stat) for pid in pids if (stat := text(f"/proc/{pid}/stat")))


def pss_bytes(pids: Iterable[int]) -> int:
    """Proportional set size of processes together: pages that they share count once."""
    lines = (line for pid in pids for line in text(f"/proc/{pid}/smaps_rollup").splitlines())
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def reap() -> None:
    """Collect processes that outlived the command that started them and have ended since."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def usage(services: Iterable[int] = ()) -> Usage:
    """CPU used so far. services: roots of servers, whose time is not a command's."""
    own, finished = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    pids = descendants(os.getpid(), services)
    living = {pid: process_seconds(stat) for pid in pids if (stat := text(f"/proc/{pid}/stat"))}
    return Usage(
        machine=machine_seconds(text("/proc/stat")),
        harness=own.ru_utime + own.ru_stime,
        finished=finished.ru_utime + finished.ru_stime,
        living=living,
    )


def command_seconds(before: Usage, after: Usage) -> float:
    """CPU seconds of everything that was started, also of what still lives, servers apart.

    A process that lived before and has been reaped since is in after.finished with its whole life.
    """
    return after.finished - before.finished + sum(after.living.values()) - sum(before.living.values())


def is_busy(other_seconds: float, wall_seconds: float, cores: float = BUSY_CORES) -> bool:
    """Whether the rest of the machine disturbed a time of wall_seconds by its CPU time. cores: what it may use."""
    return other_seconds > max(cores * wall_seconds, SLACK_SECONDS)


def conditions() -> dict[str, str]:
    """What a reader has to know of the machine."""
    lines = text("/proc/cpuinfo").splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": f"{model}, {CORES} cores used",
        "memory": f"{memory / 1e9:.0f} GB",
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
