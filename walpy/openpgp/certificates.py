"""Certificates: a primary key with its user ids, subkeys and what it says about them (RFC 9580, section 10.1)."""

import logging
from collections.abc import Iterable, Iterator

from walpy.openpgp.algorithms import SIGNING
from walpy.openpgp.keys import PublicKey, parse_public_key
from walpy.openpgp.packets import (
    PUBLIC_KEY,
    PUBLIC_SUBKEY,
    SECRET_KEY,
    SECRET_SUBKEY,
    SIGNATURE,
    USER_ATTRIBUTE,
    USER_ID,
    Packet,
    read_packets,
)
from walpy.openpgp.secret_keys import SecretKey
from walpy.openpgp.signatures import (
    CERTIFICATION_REVOCATION,
    CERTIFICATIONS,
    DIRECT_KEY,
    KEY_REVOCATION,
    PRIMARY_USER_ID,
    SUBKEY_BINDING,
    SUBKEY_REVOCATION,
    Signature,
    is_made_by,
    over_subkey,
    over_user_id,
    parse_signature,
)

PRIMARIES = frozenset({PUBLIC_KEY, SECRET_KEY})
SUBKEYS = frozenset({PUBLIC_SUBKEY, SECRET_SUBKEY})

logger = logging.getLogger(__name__)


class Component:
    """A key, user id or attribute, and the signature packets behind it that could be parsed."""

    def __init__(self, packet: Packet) -> None:
        """Raises ValueError for a key that is malformed or of an unknown form."""
        self.tag = packet.tag
        self.body = packet.body
        self.signatures: list[Signature] = []
        self.secret = SecretKey(packet.tag, packet.body) if packet.tag in (SECRET_KEY, SECRET_SUBKEY) else None
        self._public = self.secret.public if self.secret else None
        if packet.tag in (PUBLIC_KEY, PUBLIC_SUBKEY):
            self._public = parse_public_key(packet.body)[0]

    @property
    def public(self) -> PublicKey:
        """The key, of a component that is one."""
        assert self._public is not None
        return self._public


class Certificate:
    """A primary key with its user ids and subkeys. All that it tells is signed by the primary key itself."""

    def __init__(self, primary: Component, user_ids: list[Component], subkeys: list[Component]) -> None:
        self.primary = primary
        self.user_ids = user_ids
        self.subkeys = subkeys

    def __repr__(self) -> str:
        return f"Certificate({self.primary.public.name})"

    @property
    def secret_keys(self) -> list[SecretKey]:
        """Secret keys that came with it."""
        return [item.secret for item in (self.primary, *self.subkeys) if item.secret is not None]

    def self_signature(self) -> Signature | None:
        """What the primary key says of itself: the newest certification of the primary user id.

        Of version 6 the newest direct-key signature, when there is one. None: there is no valid one.
        """
        direct = self._own(self.primary, {DIRECT_KEY}, (self.primary.public.hashed(),))
        certified = [found for item in self.user_ids if (found := self._certification(item)) is not None]
        if direct and self.primary.public.version == 6:
            return _newest(direct)
        # Without a certified user id WAL-G takes no key of version 4.
        return max(certified, key=lambda item: (PRIMARY_USER_ID in item.subpackets, item.created), default=None)

    def is_revoked(self) -> bool:
        """Whether the primary key has revoked itself."""
        return bool(self._own(self.primary, {KEY_REVOCATION}, (self.primary.public.hashed(),)))

    def binding(self, subkey: Component) -> Signature | None:
        """The newest signature that binds a subkey; None when there is none, or when the subkey is revoked."""
        signed = over_subkey(self.primary.public, subkey.public)
        if self._own(subkey, {SUBKEY_REVOCATION}, signed):
            return None
        bindings = self._own(subkey, {SUBKEY_BINDING}, signed)
        return _newest(bindings) if bindings else None

    def _certification(self, user_id: Component) -> Signature | None:
        signed = over_user_id(self.primary.public, user_id.body)
        certifications = self._own(user_id, CERTIFICATIONS, signed)
        revocations = self._own(user_id, {CERTIFICATION_REVOCATION}, signed)
        if not certifications:
            return None
        newest = _newest(certifications)
        return None if any(item.created >= newest.created for item in revocations) else newest

    def _own(self, component: Component, kinds: Iterable[int], signed: tuple[bytes, ...]) -> list[Signature]:
        """Signatures of some kinds behind a component that the primary key made."""
        candidates = [item for item in component.signatures if item.kind in kinds]
        return [item for item in candidates if is_made_by(item, self.primary.public, *signed)]


def _newest(signatures: list[Signature]) -> Signature:
    return max(signatures, key=lambda item: item.created)


def read_certificates(data: bytes) -> list[Certificate]:
    """The certificates of a keyring that can be used; the others are passed over with a warning, as WAL-G does.

    Raises ValueError when the keyring is malformed, or when no certificate is left; the message tells why.
    """
    found: list[Certificate] = []
    reasons: list[str] = []
    for packets in _by_certificate(data):
        try:
            certificate = _certificate(packets)
            _check(certificate)
        except ValueError as error:
            reasons.append(str(error))
            continue
        found.append(certificate)
    if not found:
        raise ValueError("; ".join(reasons) or "it holds no OpenPGP key")
    for reason in reasons:
        logger.warning("an OpenPGP key is not used: %s", reason)
    return found


def _by_certificate(data: bytes) -> Iterator[list[Packet]]:
    group: list[Packet] = []
    for packet in read_packets(data):
        if packet.tag in PRIMARIES:
            if group:
                yield group
            group = [packet]
        elif group:
            group.append(packet)
    if group:
        yield group


def _certificate(packets: list[Packet]) -> Certificate:
    primary = Component(packets[0])
    user_ids: list[Component] = []
    subkeys: list[Component] = []
    current: Component | None = primary
    for packet in packets[1:]:
        if packet.tag == SIGNATURE:
            _add_signature(current, packet)
        elif packet.tag in (USER_ID, USER_ATTRIBUTE):
            current = Component(packet)
            user_ids += [current] if packet.tag == USER_ID else []
        elif packet.tag in SUBKEYS:
            current = _subkey(packet)
            subkeys += [current] if current else []
    return Certificate(primary, user_ids, subkeys)


def _subkey(packet: Packet) -> Component | None:
    """A subkey, or None for one of a form that is not known: the others serve without it."""
    try:
        return Component(packet)
    except ValueError as error:
        logger.debug("an OpenPGP subkey is not used: %s", error)
        return None


def _add_signature(component: Component | None, packet: Packet) -> None:
    """Keep a signature that can be parsed; others, mostly of other people, say nothing here."""
    if component is None:
        return
    try:
        component.signatures.append(parse_signature(packet.body))
    except ValueError as error:
        logger.debug("an OpenPGP signature is not used: %s", error)


def _check(certificate: Certificate) -> None:
    """What WAL-G asks of a certificate before it uses it at all."""
    key = certificate.primary.public
    if key.algorithm not in SIGNING:
        raise ValueError(f"key {key.name} cannot sign, so nothing shows what belongs to it")
    if certificate.self_signature() is None:
        raise ValueError(f"key {key.name} has no user id with a valid signature of its own")
