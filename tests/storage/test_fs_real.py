"""The file system as a storage, against real kills, full disks, foreign users and vanishing mounts."""

import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import walpy
from tests.storage.contract import MIB, content, names, put_all, read
from walpy.errors import AccessDenied, ObjectExists, ObjectMissing, StorageError, StorageFull
from walpy.storage.fs import FsStorage

# Runs in a child process: argv is the root and, for file systems without them, "named" to refuse anonymous files.
CHILD = """
import errno, os, signal, sys
sys.path.insert(0, os.environ["WALPY_ROOT"])
from walpy.errors import WalpyError
from walpy.storage.fs import FsStorage

real_open = os.open
def open_named(path, flags, mode=0o777, *, dir_fd=None):
    if flags & os.O_TMPFILE == os.O_TMPFILE:
        raise OSError(errno.EOPNOTSUPP, "no anonymous files")
    return real_open(path, flags, mode, dir_fd=dir_fd)
if sys.argv[2:] == ["named"]:
    os.open = open_named

storage = FsStorage(sys.argv[1])

def say(*words):
    print(*words, flush=True)

def outcome(function):
    try:
        return repr(function())
    except WalpyError as error:
        return f"{type(error).__name__}: {error}"
"""


def start(code: str, root: Path, *arguments: str) -> "subprocess.Popen[str]":
    """A child process that runs CHILD and code; its lines are read from stdout."""
    environment = {"WALPY_ROOT": str(Path(walpy.__file__).parent.parent), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-S", "-c", CHILD + code, str(root), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def lines_of(code: str, root: Path, *arguments: str) -> list[str]:
    """What a child prints; it must end well."""
    with start(code, root, *arguments) as child:
        output, _ = child.communicate(timeout=120)
    assert child.returncode == 0
    return output.splitlines()


def files(root: Path) -> list[str]:
    """Every file below a directory, temporary ones too."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


@pytest.fixture
def anonymous_files(tmp_path: Path) -> None:
    """Skips where the temporary directory's file system has no O_TMPFILE."""
    try:
        os.close(os.open(tmp_path, os.O_TMPFILE | os.O_RDWR))
    except OSError as error:
        pytest.skip(f"no anonymous files in {tmp_path}: {error}")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A directory that every user can reach, which tmp_path is not."""
    folder = Path(tempfile.mkdtemp(prefix="walpy-test-"))
    folder.chmod(0o755)
    yield folder
    subprocess.run(["chmod", "-R", "u+rwx", folder], check=True)
    shutil.rmtree(folder)


@pytest.fixture
def small_mount(tmp_path: Path) -> Iterator[Path]:
    """A mounted file system of 2 MiB and 20 inodes."""
    point = tmp_path / "mount"
    point.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m,nr_inodes=20", "walpy-test", str(point)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"mount is refused: {mounted.stderr.strip()}")
    yield point
    subprocess.run(["umount", str(point)], check=False, capture_output=True)


# kills

HALF_A_PUT = """
def chunks():
    yield os.urandom(9 << 20)
    say("half")
    signal.pause()
storage.put("wal_005/new", chunks(), create_only=True)
"""


@pytest.mark.usefixtures("anonymous_files")
def test_a_kill_in_the_middle_of_a_put_leaves_nothing(tmp_path: Path) -> None:
    FsStorage(str(tmp_path)).put("wal_005/old", [b"old"])
    with start(HALF_A_PUT, tmp_path) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "half\n"
        child.kill()
    assert files(tmp_path) == ["wal_005/old"]


def test_a_kill_without_anonymous_files_leaves_a_hidden_file_that_can_be_discarded(tmp_path: Path) -> None:
    storage = FsStorage(str(tmp_path))
    storage.put("wal_005/old", [b"old"])
    with start(HALF_A_PUT, tmp_path, "named") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "half\n"
        child.kill()
    assert len(files(tmp_path)) == 2
    assert names(storage) == ["wal_005/old"]
    storage.put("wal_005/new", [b"again"], create_only=True)
    assert storage.discard_unfinished("wal_005") == 1
    assert files(tmp_path) == ["wal_005/new", "wal_005/old"]


STEADY_PUTS = """
for number in range(10**6):
    storage.put(f"folder{number % 7}/{number}", [bytes([number % 251]) * 100_003] * 3, create_only=True)
    say(number)
"""


@pytest.mark.usefixtures("anonymous_files")
@pytest.mark.parametrize("seed", range(6))
def test_a_kill_at_any_moment_leaves_whole_objects_only(tmp_path: Path, seed: int) -> None:
    """Nothing that was acknowledged is missing, nothing that is there is torn, nothing else is there."""
    storage = FsStorage(str(tmp_path))
    wanted = random.Random(seed).randint(1, 40)
    with start(STEADY_PUTS, tmp_path) as child:
        assert child.stdout is not None
        acknowledged = [int(child.stdout.readline()) for _ in range(wanted)]
        child.kill()
        acknowledged += [int(line) for line in child.stdout if line.endswith("\n")]
    stored = {int(name.partition("/")[2]): name for name in names(storage)}
    assert set(acknowledged) <= set(stored)
    assert len(stored) - len(acknowledged) <= 1
    for number, name in stored.items():
        assert read(storage, name) == bytes([number % 251]) * 300_009
    assert files(tmp_path) == sorted(stored.values())


REPLACEMENTS = """
for number in range(10**6):
    storage.put("a", [bytes([number % 251]) * 100_003] * 3)
    say(number)
"""


@pytest.mark.parametrize("arguments", [(), ("named",)], ids=["anonymous", "named"])
@pytest.mark.parametrize("seed", range(3))
def test_a_kill_while_replacing_leaves_one_whole_version(tmp_path: Path, seed: int, arguments: tuple[str, ...]) -> None:
    storage = FsStorage(str(tmp_path))
    wanted = random.Random(seed).randint(1, 40)
    with start(REPLACEMENTS, tmp_path, *arguments) as child:
        assert child.stdout is not None
        last = [int(child.stdout.readline()) for _ in range(wanted)][-1]
        child.kill()
        last = max([last, *(int(line) for line in child.stdout if line.endswith("\n"))])
    assert read(storage, "a") in [bytes([number % 251]) * 300_009 for number in (last, last + 1)]
    assert names(storage) == ["a"]
    leftovers = len(files(tmp_path)) - 1
    assert storage.discard_unfinished("") == leftovers
    assert files(tmp_path) == ["a"]


# full disks


def test_a_full_file_system_stores_nothing_and_gives_the_space_back(small_mount: Path) -> None:
    storage = FsStorage(str(small_mount))
    storage.put("wal_005/a", [b"old"])
    for create_only, name in ((True, "wal_005/b"), (False, "wal_005/a")):
        with pytest.raises(StorageFull, match=f"cannot store '{name}' .*: No space left on device") as caught:
            storage.put(name, [content(MIB)] * 3, create_only=create_only)
        assert caught.value.hint
    assert files(small_mount) == ["wal_005/a"]
    assert read(storage, "wal_005/a") == b"old"
    storage.put("wal_005/b", [content(MIB)])
    assert read(storage, "wal_005/b") == content(MIB)


def test_a_file_system_without_inodes_is_full(small_mount: Path) -> None:
    storage = FsStorage(str(small_mount))
    for number in range(20):
        try:
            storage.put(f"folder/{number}", [])
        except StorageFull:
            break
    else:
        pytest.fail("20 inodes held 20 files and two directories")
    assert len(files(small_mount)) == number
    with pytest.raises(StorageFull):
        storage.put("other/folder", [])


# permissions and mounts


def test_a_read_only_file_system(small_mount: Path) -> None:
    storage = FsStorage(str(small_mount))
    storage.put("a/b", [b"x"])
    subprocess.run(["mount", "-o", "remount,ro", str(small_mount)], check=True)
    for call in (
        lambda: storage.put("a/c", [b"x"]),
        lambda: storage.put("new/c", [b"x"]),
        lambda: storage.delete(["a/b"]),
    ):
        with pytest.raises(AccessDenied, match="Read-only file system"):
            call()
    assert read(storage, "a/b") == b"x"
    with pytest.raises(ObjectMissing):
        storage.stat("a/c")


def test_an_unmounted_root_is_never_proof_of_absence(small_mount: Path) -> None:
    (small_mount / "archive").mkdir()
    storage = FsStorage(str(small_mount / "archive"))
    storage.put("wal_005/a", [b"x"])
    subprocess.run(["umount", str(small_mount)], check=True)
    with pytest.raises(StorageError, match="does not exist") as caught:
        storage.stat("wal_005/a")
    assert not isinstance(caught.value, ObjectMissing)
    with pytest.raises(StorageError, match="does not exist"):
        storage.put("wal_005/a", [b"x"])
    assert files(small_mount) == []


FORBIDDEN = """
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
say(outcome(lambda: storage.put("new", [b"x"])))
say(outcome(lambda: storage.put("closed/new", [b"x"])))
say(outcome(lambda: storage.put("readable/new/new", [b"x"], create_only=True)))
say(outcome(lambda: storage.stat("closed/a")))
say(outcome(lambda: storage.stat_many(["readable/a", "closed/a"])))
say(outcome(lambda: storage.open("closed/a")))
say(outcome(lambda: storage.open("readable/secret")))
say(outcome(lambda: list(storage.list(""))))
say(outcome(lambda: storage.list_folder("closed")))
say(outcome(lambda: storage.delete(["readable/a"])))
"""


def test_forbidden_is_not_missing(open_folder: Path) -> None:
    put_all(FsStorage(str(open_folder)), ["readable/a", "readable/secret", "closed/a"])
    (open_folder / "readable" / "secret").chmod(0)
    (open_folder / "readable").chmod(0o555)
    (open_folder / "closed").chmod(0)
    open_folder.chmod(0o555)
    answers = lines_of(FORBIDDEN, open_folder)
    open_folder.chmod(0o755)
    assert len(answers) == 10
    for answer in answers:
        assert answer.startswith("AccessDenied: cannot ")
        assert answer.endswith(": Permission denied")


def test_a_root_that_may_not_be_entered_is_not_missing(open_folder: Path) -> None:
    (open_folder / "outer" / "root").mkdir(parents=True)
    (open_folder / "outer").chmod(0)
    answers = lines_of(FORBIDDEN, open_folder / "outer" / "root")
    assert {answer.partition(":")[0] for answer in answers} == {"AccessDenied"}


WITHOUT_PROC = """
os.chroot(sys.argv[1])
os.chdir("/")
storage = FsStorage("/archive")
say(outcome(lambda: storage.put("a", [b"x" * 3_000_000] * 2, create_only=True)))
say(outcome(lambda: storage.put("a", [b"y"], create_only=True)))
say(outcome(lambda: storage.put("a", [b"z"])))
say(outcome(lambda: storage.put("b", [b"z"])))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot is for root")
def test_puts_work_without_proc(tmp_path: Path) -> None:
    """An anonymous file gets its name through /proc, which a chroot may lack."""
    (tmp_path / "archive").mkdir()
    assert lines_of(WITHOUT_PROC, tmp_path)[0] == "6000000"
    storage = FsStorage(str(tmp_path / "archive"))
    assert read(storage, "a") == b"z"
    with pytest.raises(ObjectExists):
        storage.put("a", [b"y"], create_only=True)
    assert files(tmp_path) == ["archive/a", "archive/b"]
