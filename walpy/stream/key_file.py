"""Key material in files: read with a word of warning when others can read it too."""

import logging
import os
import stat

from walpy.errors import ConfigError

logger = logging.getLogger(__name__)

LARGEST = 1 << 20  # bytes; no key has more
PUBLIC_BLOCK = b"-----BEGIN PGP PUBLIC"


def read_key_file(path: str, setting: str) -> bytes:
    """Content of a key file. setting: the key that names it, for messages. Raises ConfigError.

    Warns when group or others may read it: what decrypts the archive should be its owner's alone.
    """
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"cannot read the key file {path!r} of {setting}: {error.strerror}") from None
    if len(content) > LARGEST:
        raise ConfigError(f"the key file {path!r} of {setting} has more than {LARGEST} bytes: it is no key")
    is_public = content.lstrip().startswith(PUBLIC_BLOCK)
    if stat.S_IMODE(status.st_mode) & 0o044 and not is_public:
        logger.warning("others can read the key file %s (%s): chmod 600 it", path, setting)
    return content
