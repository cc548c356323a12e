"""Every error walpy raises on purpose, its exit code, and how an error is shown to a person.

WalpyError                     1   base
├── ConfigError                1   a setting is missing or has a wrong value
│   └── SecretKeyMissing       1   the keys at hand cannot decrypt
├── UsageError                 1   the command line makes no sense
├── StorageError               1   a storage refused or failed
│   ├── ObjectMissing         74   proven: the object is not there
│   ├── ObjectExists           1   a create-only put met an object
│   ├── AccessDenied           1   credentials or permissions
│   ├── StorageFull            1   no space, quota exceeded
│   ├── StorageThrottled       1   transient: asked to slow down
│   └── StorageUnavailable     1   transient: time-out, reset connection, 5xx
├── DataCorrupt                1   stored or local bytes are damaged, truncated or not what their name says
│   └── WrongKey               1   an object is not encrypted for the keys at hand, or in another way
├── WalConflict                1   archived with other content
├── InvalidWal                 1   a WAL file that must not be archived (or handed to PostgreSQL)
├── BackupError                1   a base backup cannot be taken, found or restored
├── PostgresError              1   the server refused or failed
│   └── ServerGone             1   transient: it takes no connection now, or one broke
├── WorkerDied                 1   a worker process ended without a result
└── Interrupted          128 + n   SIGTERM, SIGINT or SIGHUP
"""


class WalpyError(Exception):
    """Base of every error walpy raises on purpose; subclasses add no constructor, so all survive pickling.

    message: lower case, no full stop: what failed, on which object. hint: a sentence the reader can act on.
    """

    exit_code = 1
    transient = False  # true: the same call may succeed later

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)  # positional arguments are the whole state

    def __str__(self) -> str:
        return str(self.args[0])

    @property
    def hint(self) -> str:
        """What the reader can do about it; may be empty."""
        return str(self.args[1])


class ConfigError(WalpyError):
    """A setting is missing or has a wrong value; the message names key, value and origin."""


class SecretKeyMissing(ConfigError):
    """The keys at hand encrypt only: nobody here can tell what an object holds."""


class UsageError(WalpyError):
    """The command line makes no sense."""


class StorageError(WalpyError):
    """A storage refused or failed, for a reason that no subclass names."""


class ObjectMissing(StorageError):
    """The storage answered, and the object is not there.

    As WAL-G's exit code: PostgreSQL takes 1-125 from restore_command as "not archived", so only proven absence
    ends here; every other failure of wal-fetch in archive recovery ends above 125.
    """

    exit_code = 74


class ObjectExists(StorageError):
    """A create-only put met an existing object; nothing was changed."""


class AccessDenied(StorageError):
    """Credentials are missing, wrong or expired, or lack a permission."""


class StorageFull(StorageError):
    """No space left, or a quota is used up."""


class StorageThrottled(StorageError):
    """The storage asked to slow down, for longer than the deadline allows."""

    transient = True


class StorageUnavailable(StorageError):
    """A time-out, a broken connection or a server error, for longer than the deadline allows."""

    transient = True


class DataCorrupt(WalpyError):
    """Bytes are damaged, truncated or not what their name says."""


class WrongKey(DataCorrupt):
    """An object is encrypted for other keys than those at hand, in another way than the settings say, or not at all.

    No proof that it is sound: its mark, or the key id in it, may be what is damaged.
    """


class WalConflict(WalpyError):
    """A WAL file is already archived with other content."""


class InvalidWal(WalpyError):
    """A WAL file that must be neither archived nor handed to PostgreSQL: wrong size, header or cluster."""


class BackupError(WalpyError):
    """A base backup cannot be taken, found or restored."""


class PostgresError(WalpyError):
    """The server cannot be reached, or refused what a backup needs."""


class ServerGone(PostgresError):
    """The server takes no connection now, or one has broken."""

    transient = True


class WorkerDied(WalpyError):
    """A worker process ended without handing back a result."""


class Interrupted(WalpyError):
    """A signal asked the command to end; signal_number is its number."""

    def __init__(self, message: str, hint: str = "", signal_number: int = 15) -> None:
        super().__init__(message, hint)
        self.args = (message, hint, signal_number)

    @property
    def signal_number(self) -> int:
        """Number of the signal."""
        return int(self.args[2])


def describe(error: BaseException) -> str:
    """One or two lines for a person: the message, its cause when that says more, and the hint."""
    text = str(error) or type(error).__name__
    cause = _reason(error.__cause__)
    if cause and cause.lower() not in text.lower():
        text = f"{text}: {cause}"
    hint = error.hint if isinstance(error, WalpyError) else ""
    return f"{text}\n{hint}" if hint else text


def _reason(cause: BaseException | None) -> str:
    """What a cause adds to a message: its first line; of an operating system's error the reason without its path."""
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause or "").strip().partition("\n")[0]
