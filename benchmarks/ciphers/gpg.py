"""The gpg program over a file of the same size: the same messages, both ways, by its CPU time."""

import os
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

from benchmarks.ciphers.kinds import KEYS

RECIPIENT = "bench"


def measure(size: int, rounds: int) -> dict[str, float] | None:
    """CPU seconds for each GB by direction, AES-128 without compression; None without gpg."""
    if shutil.which("gpg") is None:
        return None
    with tempfile.TemporaryDirectory(prefix="gpg") as folder:
        home = Path(folder)
        plain, message = home / "plain", home / "message"
        plain.write_bytes(os.urandom(size))
        try:
            _run(home, "--import", str(KEYS / "aes128.asc"))
            options = ["--trust-model", "always", "--compress-algo", "none", "-o", str(message), "-e", "-r", RECIPIENT]
            seal = [_run(home, *options, str(plain)) for _ in range(rounds)]
            unseal = [_run(home, "-o", "/dev/null", "-d", str(message)) for _ in range(rounds)]
        finally:
            subprocess.run(["gpgconf", "--kill", "all"], env=_environment(home), capture_output=True, check=False)
    return {"encrypt": statistics.median(seal) / size * 1e9, "decrypt": statistics.median(unseal) / size * 1e9}


def _environment(home: Path) -> dict[str, str]:
    return {**os.environ, "GNUPGHOME": str(home), "LC_ALL": "C"}


def _run(home: Path, *arguments: str) -> float:
    words = ["gpg", "--batch", "--quiet", "--yes", "--no-tty", *arguments]
    process = subprocess.Popen(words, env=_environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(process.pid, 0)
    assert process.stderr is not None
    said = process.stderr.read().decode(errors="replace")
    process.stderr.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise LookupError(f"gpg failed: {said}")
    return usage.ru_utime + usage.ru_stime
