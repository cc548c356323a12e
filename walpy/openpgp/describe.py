"""What an OpenPGP object is, by its first packets, without any key."""

from typing import NamedTuple

from walpy.openpgp.algorithms import AEAD_NAMES, cipher_name, public_key_name
from walpy.openpgp.keys import key_name
from walpy.openpgp.packets import AEAD, PKESK, SEIPD, SKESK, UNPROTECTED, parse_header
from walpy.openpgp.session_keys import parse_pkesk

HEAD_SIZE = 64 << 10  # bytes of an object that describe() can make use of


class RecipientKey(NamedTuple):
    """For whom a session key is: key id (16 hex digits, or `anonymous`) and the name of the algorithm."""

    key_id: str
    algorithm: str


class Description(NamedTuple):
    """An encrypted message. protection: how the data are encrypted; empty when the head ends before them."""

    recipients: tuple[RecipientKey, ...]
    passphrases: int
    protection: str

    def __str__(self) -> str:
        names = [f"{item.key_id} ({item.algorithm})" for item in self.recipients]
        names += [f"{self.passphrases} pass phrases"] if self.passphrases else []
        how = f", {self.protection}" if self.protection else ""
        return f"OpenPGP for {', '.join(names) or 'nobody'}{how}"


def describe(head: bytes) -> Description | None:
    """Describe the message that begins with head (HEAD_SIZE bytes are enough); None when it is no encrypted one."""
    recipients: list[RecipientKey] = []
    passphrases = 0
    position = 0
    while True:
        try:
            header = parse_header(head[position : position + 6])
        except ValueError:
            return None
        if header is None:
            break
        start = position + header.used
        if header.tag in (SEIPD, AEAD, UNPROTECTED):
            return Description(tuple(recipients), passphrases, _protection(header.tag, head[start : start + 4]))
        position = start + header.length.size
        if header.tag == PKESK:
            found = _recipient(head[start:position])
            if found is None:
                return None
            recipients.append(found)
        elif header.tag == SKESK:
            passphrases += 1
        else:
            return None
        if position >= len(head):
            break
    return Description(tuple(recipients), passphrases, "") if recipients or passphrases else None


def _recipient(body: bytes) -> RecipientKey | None:
    try:
        packet = parse_pkesk(body)
    except ValueError:
        return None
    return RecipientKey(key_name(packet.key_id), public_key_name(packet.algorithm))


def _protection(tag: int, body: bytes) -> str:
    if tag == UNPROTECTED:
        return "not integrity protected"
    if not body:
        return ""
    if tag == SEIPD and body[0] == 1:
        return "SEIPD version 1 (MDC)"
    form = f"SEIPD version {body[0]}" if tag == SEIPD else "AEAD packet 20"
    if len(body) < 4:
        return form
    return f"{form}, {cipher_name(body[1])} {AEAD_NAMES.get(body[2], '?')}"
