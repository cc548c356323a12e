"""What a push has done, and the lines that say it."""

import logging
from dataclasses import dataclass

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BackupSummary:
    """What a push has done. Sizes are bytes, seconds those of the whole push.

    uncompressed_size: of the files' data. stored_size: of all tars. first_segment, last_segment: the WAL that every
    restore needs. limited_by: a sentence on what took the time.
    """

    name: str
    uncompressed_size: int
    stored_size: int
    tar_count: int
    seconds: float
    first_segment: str
    last_segment: str
    corrupt_block_count: int
    limited_by: str


def log_summary(summary: BackupSummary, storage_name: str = "") -> None:
    """Log it; the last line is WAL-G's, which scripts take the name from: without the storage for a remote backup."""
    size, stored = summary.uncompressed_size / 1e6, summary.stored_size / 1e6
    logger.info(
        "Backed up %.1f MB in %.1f s (%.1f MB/s), stored %.1f MB in %d tars; a restore needs WAL from %s to %s",
        *(size, summary.seconds, size / summary.seconds, stored, summary.tar_count),
        *(summary.first_segment, summary.last_segment),
    )
    if summary.limited_by:
        logger.info("%s", summary.limited_by)
    logger.info("Wrote backup with name %s%s", summary.name, f" to storage {storage_name}" if storage_name else "")
