"""Which key of a certificate a message is encrypted for, and by which cipher, as WAL-G chooses."""

import time
from collections.abc import Iterable
from typing import NamedTuple

from walpy.errors import ConfigError
from walpy.openpgp.algorithms import AES128, AES256, public_key_name
from walpy.openpgp.certificates import Certificate
from walpy.openpgp.keys import PublicKey
from walpy.openpgp.signatures import KEY_EXPIRES, Signature

HINT = "Give a public key that can encrypt: `gpg --list-keys --with-subkey-fingerprint` shows what a key is for."
DAY = "%Y-%m-%d"


class Recipient(NamedTuple):
    """A key to encrypt for, and the numbers of the ciphers that its owner prefers."""

    key: PublicKey
    ciphers: bytes


def recipient(certificate: Certificate, now: int) -> Recipient:
    """Choose the newest subkey that may encrypt, else the primary key.

    now: seconds since the epoch. Raises ConfigError naming the key and the reason why nothing may be encrypted for it.
    """
    primary = certificate.primary.public
    own = certificate.self_signature()
    if own is None:
        raise _refused(primary, "it has no user id with a valid signature of its own")
    if certificate.is_revoked():
        raise _refused(primary, "it is revoked")
    reason = _not_in_force(primary, own, now)
    if reason:
        raise _refused(primary, reason)
    key, reasons = _usable_subkey(certificate, now)
    if key is None and own.may_encrypt and primary.can_encrypt:
        key = primary
    if key is None:
        why = "; ".join(reasons) or "it has no subkey that may encrypt"
        raise _refused(primary, f"it has no valid encryption keys: {why}")
    return Recipient(key, own.preferred_ciphers)


def _usable_subkey(certificate: Certificate, now: int) -> tuple[PublicKey | None, list[str]]:
    """The newest subkey to encrypt for, by the time of its binding, and why others are not."""
    usable: list[tuple[int, PublicKey]] = []
    reasons: list[str] = []
    for component in certificate.subkeys:
        key, binding = component.public, certificate.binding(component)
        if binding is None:
            reasons.append(f"subkey {key.name} is revoked, or not bound by a valid signature")
        elif binding.may_encrypt:
            reason = _not_in_force(key, binding, now)
            if not reason and not key.can_encrypt:
                reason = f"{public_key_name(key.algorithm)} on this curve is not supported"
            reasons += [f"subkey {key.name}: {reason}"] if reason else []
            usable += [] if reason else [(binding.created, key)]
    return max(usable, key=lambda item: item[0], default=(0, None))[1], reasons


def _not_in_force(key: PublicKey, signature: Signature, now: int) -> str:
    """Why a key is not in force at a time, by what the signature says of it; empty: it is."""
    lifetime = signature.number(KEY_EXPIRES)
    if lifetime and key.created + lifetime <= now:
        return f"it expired on {_day(key.created + lifetime)}"
    if key.created > now:
        return f"it is of the future ({_day(key.created)}): the clock may be wrong"
    return "the signature on it is not in force" if signature.is_expired(now) else ""


def _day(moment: int) -> str:
    return time.strftime(DAY, time.gmtime(moment))


def _refused(key: PublicKey, reason: str) -> ConfigError:
    return ConfigError(f"cannot encrypt a message to key id {key.name} because {reason}", HINT)


def common_cipher(recipients: Iterable[Recipient]) -> int:
    """Number of the cipher for a message: AES-128 when all recipients prefer it (or nothing common), else AES-256."""
    candidates = {AES128, AES256}.intersection(*(item.ciphers for item in recipients))
    return AES256 if candidates == {AES256} else AES128
