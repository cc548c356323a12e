"""Moves objects from one storage of an archive to another: copied, compared, and only then removed.

An object leaves the source when the target has it whole, durable (a put is) and equal: of the same size, and of the
same digest where the target tells one. What the target has already under that name is compared by content, and counts
as copied when it is equal; another one is never replaced unasked. So at every moment each object is in at least one of
the storages, and a run that was stopped is completed by the next one.

Memory: what copying.in_order and the storages hold of the objects under way, and REMOVED_AT_ONCE names.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Final, NamedTuple

from walpy.archive import Archive
from walpy.comparing import describe, is_md5, md5_digest, same_bytes, same_content
from walpy.copying import Conflict, check_distinct, copy_object, in_order, pairs
from walpy.errors import BackupError, DataCorrupt, ObjectExists, ObjectMissing, StorageError, WalpyError
from walpy.layout import is_own
from walpy.objects import objects_of
from walpy.progress import Progress
from walpy.storage.base import StoredObject

REMOVED_AT_ONCE: Final = 100  # objects of one request to remove them: they are told of when it is done

FAILURES: Final = (StorageError, BackupError, DataCorrupt)  # of one object: others can still be moved

Pair = tuple[StoredObject, StoredObject | None]  # of the source, and what the target has under its name

logger = logging.getLogger(__name__)


class MoveOptions(NamedTuple):
    """How objects are moved.

    overwrite: replace what the target has, when it differs. preserve: copy only. fail_fast: end at the first failure,
    instead of going on with other objects. max_files: None for all. checks: how often a copy is looked for, every
    interval seconds, before it counts as lost.
    """

    overwrite: bool = False
    preserve: bool = False
    fail_fast: bool = False
    concurrency: int = 10
    max_files: int | None = None
    checks: int = 3
    interval: float = 1.0


class Mover:
    """Copies, compares and removes objects; counts what is left, and what failed."""

    def __init__(self, source: Archive, target: Archive, options: MoveOptions, progress: Progress) -> None:
        check_distinct(source, target)
        self.source = source
        self.target = target
        self.options = options
        self.failures = 0
        self.left = 0
        self._progress = progress

    def is_due(self, item: StoredObject, present: StoredObject | None) -> bool:
        """Whether there is anything to do for an object; what both have stays unread when nothing is removed."""
        is_same_size = present is not None and present.size == item.size
        return not self.options.preserve or self.options.overwrite or not is_same_size

    def copied(self, items: Iterable[Pair]) -> Iterator[StoredObject]:
        """Copy objects, or compare what the target has; those that are safe there, in their order.

        A failure is told and counted, or raised with fail_fast.
        """
        with closing(in_order(self._bring, items, self.options.concurrency)) as results:
            for (item, _), future in results:
                try:
                    future.result()
                except FAILURES as error:
                    self.fail(item.name, "copy", error)
                    continue
                self._progress.advance(item.size)
                yield item

    def remove(self, items: Iterable[StoredObject]) -> bool:
        """Remove objects of the source whose copies are safe, some at a time; whether all are gone."""
        before = self.failures
        batch: list[StoredObject] = []
        for item in items:
            batch.append(item)
            if len(batch) >= REMOVED_AT_ONCE:
                self._remove(batch)
                batch = []
        self._remove(batch)
        return self.failures == before

    def tell_moved(self, name: str) -> None:
        """Log that an object is where it should be."""
        self.left = max(0, self.left - 1)
        logger.info('File is transferred (%d left): "%s"', self.left, name)

    def fail(self, name: str, doing: str, error: WalpyError) -> None:
        """Tell of an object that failed, and count it. With fail_fast: raise it."""
        text = f'error with file "{name}": {doing} failed: {error}'
        self.failures += 1
        if self.options.fail_fast:
            raise type(error)(text, error.hint) from error
        logger.error("%s%s", text, f" {error.hint}" if error.hint else "")

    def finish(self) -> None:
        """Raise StorageError when anything has failed."""
        if self.failures:
            raise StorageError(
                f"finished with {self.failures} errors", "The lines above tell why. Run it again: it goes on."
            )

    def _remove(self, batch: Sequence[StoredObject]) -> None:
        if not batch:
            return
        try:
            if not self.options.preserve:
                self.source.storage.delete([item.name for item in batch])
        except StorageError as error:
            for item in batch:
                self.fail(item.name, "delete", error)
            return
        for item in batch:
            self.tell_moved(item.name)

    # ---- one object

    def _bring(self, pair: Pair) -> None:
        """Have an object in the target. Raises Conflict, StorageError."""
        item, present = pair
        if present is None:
            try:
                self._copy(item)
            except ObjectExists:  # stored by somebody else, a moment ago
                present = item
        if present is not None and not same_content(self.source.storage, self.target.storage, item.name):
            if not self.options.overwrite:
                raise self._conflict(item.name)
            self._replace(item)

    def _copy(self, item: StoredObject) -> None:
        digest = md5_digest()
        source, target = self.source.storage, self.target.storage
        by_server = copy_object(source, target, item, digest.passing)
        self._check(item, "" if by_server else digest.text)

    def _replace(self, item: StoredObject) -> None:
        digest = md5_digest()
        with self.source.storage.open(item.name) as reader:
            self.target.storage.put(item.name, digest.passing(reader))
        self._check(item, digest.text)

    def _check(self, item: StoredObject, digest: str) -> None:
        """Make sure that the target has a copy. digest: of what was read, empty when it did not pass here."""
        found, its_digest = self._appeared(item.name)
        is_same = found.size == item.size
        if is_same and digest and is_md5(its_digest) and digest != its_digest:
            # Not every server that speaks S3 tells the MD5: its word alone condemns no copy.
            is_same = same_bytes(self.source.storage, self.target.storage, item.name)
        if not is_same:
            raise StorageError(
                f"the copy in {self.target.storage.url} differs from the object in {self.source.storage.url}",
                "It may have been written to meanwhile; nothing was removed.",
            )

    def _appeared(self, name: str) -> tuple[StoredObject, str]:
        checks = max(1, self.options.checks)
        for check in range(1, checks):
            try:
                return describe(self.target.storage, name)
            except ObjectMissing:
                logger.warning("Written file hasn't appeared in the target storage (check %d of %d)", check, checks)
                time.sleep(self.options.interval)
        try:
            return describe(self.target.storage, name)
        except ObjectMissing:
            raise StorageError(
                f"couldn't wait for the file to appear in the target storage ({checks} checks performed)"
            ) from None

    def _conflict(self, name: str) -> Conflict:
        here, there = self.source.storage, self.target.storage
        sizes = [describe(storage, name)[0].size for storage in (here, there)]
        return Conflict(
            f"{there.url} has another object of that name ({sizes[1]} bytes) than {here.url} ({sizes[0]} bytes)",
            "Compare them (st cat, with --target), and remove one, or replace the target's: --overwrite.",
        )


def move_objects(source: Archive, target: Archive, prefix: str, options: MoveOptions, progress: Progress) -> None:
    """Move an object, or all below a folder in name order; see objects.objects_of.

    What walpy keeps in WALPY_FOLDER tells of one storage, and stays unless it is asked for.
    Raises ConfigError for one archive on both sides; StorageError at the end when objects failed, Conflict or
    StorageError at the first one with fail_fast.
    """
    mover = Mover(source, target, options, progress)

    def found() -> Iterator[Pair]:
        listed = (item for item in objects_of(source, prefix) if prefix.strip("/") or not is_own(item.name))
        return pairs(listed, objects_of(target, prefix))

    size = _plan(mover, found())
    progress.start(size, "moving")
    try:
        mover.remove(mover.copied(islice((pair for pair in found() if mover.is_due(*pair)), mover.left)))
    finally:
        progress.finish()
    mover.finish()


def _plan(mover: Mover, found: Iterable[Pair]) -> int:
    """Count what is there, tell it, and set what is left; bytes of it."""
    total = missing = size = 0
    for item, present in found:
        total += 1
        missing += present is None
        if mover.is_due(item, present) and (mover.options.max_files is None or mover.left < mover.options.max_files):
            mover.left += 1
            size += item.size
    tell_found(total, missing)
    logger.info("Files will be transferred: %d", mover.left)
    return size


def tell_found(total: int, missing: int) -> None:
    """Log what the storages have."""
    logger.info("Total files in the source storage: %d", total)
    logger.info("Files missing in the target storage: %d", missing)
