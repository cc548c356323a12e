"""What a worker of backup-fetch does with a part: keeps what an interrupted restore finished of it, extracts the rest.

Files are read again and compared with their checksums (records.py), where they have one; others are as they were left
when the machine has not been booted since. A part of which nothing is missing is not downloaded.
Memory: as in extract.py, and 200 bytes for each file of the part.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from walpy.backup.extract import PartJob, PartResult, extract_part, make_directories, place_of, worker_plan
from walpy.backup.journal import HINT, record_path
from walpy.backup.records import FileRecord, PartRecord, is_as_left, read_record
from walpy.errors import BackupError


def extract_or_keep(job: PartJob, report: Callable[[int], None]) -> PartResult:
    """Extract a part, or what is missing of it; report counts bytes of file data, also of what is kept.

    Raises BackupError when a file that several backups bring is not as it was left; else as extract_part.
    """
    journal = worker_plan().journal
    if not journal:
        return extract_part(job, report)
    path = record_path(journal, job.object_name)
    record = read_record(path)
    is_same_boot = record is not None and record.boot == worker_plan().boot
    if job.must_be_recorded and job.increments and not is_same_boot:
        raise BackupError(f"the journal has lost part {job.part}, and older backups were extracted after it", HINT)
    if record is not None:
        return _complete(job, record, path, report, is_same_boot=is_same_boot)
    result = extract_part(job, report)
    _record_of(result, result.records).write(path)
    return replace(result, records={})


def _complete(
    job: PartJob, record: PartRecord, path: str, report: Callable[[int], None], *, is_same_boot: bool
) -> PartResult:
    lost = []
    for name, file in record.files.items():
        if _is_kept(name, file, is_same_boot=is_same_boot):
            report(file.size)
        else:
            lost.append(name)
    make_directories(name for name, _ in record.directories)
    kept = PartResult(job, tuple(record.files), record.directories, record.links, record.size, is_kept=not lost)
    if not lost:
        return kept
    wanted = frozenset(lost)
    result = extract_part(replace(job, wanted=wanted, increments=job.increments & wanted), report)
    _record_of(kept, {**record.files, **result.records}).write(path)
    return replace(kept, times=result.times)


def _is_kept(name: str, file: FileRecord, *, is_same_boot: bool) -> bool:
    if file.checksum:
        return is_as_left(place_of(name), file)
    if is_same_boot and not is_as_left(place_of(name), file):
        raise BackupError(f"{name!r} is not as the unfinished restore left it", HINT)
    return is_same_boot


def _record_of(result: PartResult, files: Mapping[str, FileRecord]) -> PartRecord:
    return PartRecord(dict(files), result.directories, result.links, result.size, worker_plan().boot)
