"""How much data a run uses: pure."""

from dataclasses import asdict, dataclass

ACCOUNTS_PER_SCALE = 100_000  # rows of pgbench_accounts
ACCOUNTS_PER_PAGE = 61  # rows of pgbench_accounts on one page
FULL_PAGES_PER_ROUND = 3_000  # pages changed after a checkpoint: their images are about three segments

# Sizes of the small files, over and over: mostly tables of one page, some of more, some empty, some of a few bytes.
SMALL_SIZES = (8192, 8192, 16384, 8192, 0, 24576, 8192, 40, 8192, 4096)


@dataclass(frozen=True, slots=True)
class DataPlan:
    """Sizes of one set of data; about 2 GB of cluster and 2 GB of WAL, or a tenth.

    scale: of pgbench, 15 MB each; from 80 on the accounts fill a first file of 1 GiB. text_rows: 120 bytes each, and a
    string index of half that. wal_rounds: of every kind, about three segments a round. burst: ready segments of the
    burst and of the recovery. backups: in the two catalogues. segments: that wal-show and wal-verify tell of.
    segment: kind that single commands move.
    """

    name: str
    scale: int
    text_rows: int
    wal_rounds: int
    small_files: int
    burst: int
    backups: tuple[int, int]
    segments: int
    segment: str = "insert"

    @property
    def pages_apart(self) -> int:
        """Accounts between two that are changed to dirty FULL_PAGES_PER_ROUND pages, each on a page of its own."""
        return max(ACCOUNTS_PER_PAGE, self.scale * ACCOUNTS_PER_SCALE // FULL_PAGES_PER_ROUND)

    def describe(self) -> dict[str, object]:
        """All numbers, to tell whether kept data fits."""
        return asdict(self)


FULL = DataPlan("full", 82, 2_400_000, 8, 80_000, 100, (1_000, 10_000), 102_400)
QUICK = DataPlan("quick", 8, 240_000, 2, 4_000, 20, (100, 1_000), 10_240)


def small_file(number: int) -> tuple[str, int]:
    """Path, relative to the data directory, and size in bytes of the n-th small file; a thousand in a directory."""
    return f"many/{number // 1000:03d}/{number:06d}", SMALL_SIZES[number % len(SMALL_SIZES)]


def segment_kinds(names: list[str], phases: list[tuple[str, str, str]]) -> dict[str, str]:
    """Kind of each segment: that of the phase which wrote all of it, else "mixed".

    names: complete segments. phases: (kind, segment in which it began, segment in which it ended), in order.
    """
    inside = {name: kind for name in names for kind, first, last in phases if first < name < last}
    return {name: inside.get(name, "mixed") for name in names}
