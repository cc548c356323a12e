"""Signature of one S3 request: AWS Signature Version 4, pure.

Source: AWS General Reference, "Create a signed AWS API request"; S3's rules for paths (encoded once, never normalised).
"""

import hmac
import time
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"
EMPTY_HASH = sha256(b"").hexdigest()


class Signer(NamedTuple):
    """What signs: static keys, perhaps with a session's token, for one region."""

    access_key: str
    secret_key: str
    session_token: str
    region: str

    def __repr__(self) -> str:
        return f"Signer(region={self.region!r})"  # the rest is secret

    def headers(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body_hash: str = EMPTY_HASH,
        now: float | None = None,
    ) -> dict[str, str]:
        """headers, all of them signed, with those of the signature.

        target: path and query as they are sent, the query's parts in order, see target_of. headers: names in lower
        case, `host` among them. body_hash: SHA-256 of the body, in hex. now: seconds since the epoch; for tests.
        """
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        signed = {**headers, "x-amz-content-sha256": body_hash, "x-amz-date": moment}
        if self.session_token:
            signed["x-amz-security-token"] = self.session_token
        in_order = sorted(signed)
        names = ";".join(in_order)
        path, _, query = target.partition("?")
        lines = "".join(f"{name}:{' '.join(signed[name].split())}\n" for name in in_order)
        request = "\n".join((method, path, query, lines, names, body_hash))
        scope = f"{moment[:8]}/{self.region}/s3/aws4_request"
        text = "\n".join((ALGORITHM, moment, scope, sha256(request.encode()).hexdigest()))
        signature = hmac.digest(_signing_key(self.secret_key, scope), text.encode(), "sha256").hex()
        signed["authorization"] = (
            f"{ALGORITHM} Credential={self.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return signed


@lru_cache(maxsize=4)  # it is the same for a day
def _signing_key(secret_key: str, scope: str) -> bytes:
    key = f"AWS4{secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def target_of(path: str, query: Mapping[str, str] | None = None) -> str:
    """Path and query of a request, percent-encoded as they are signed. path: begins with a slash."""
    encoded = quote(path, safe="/-._~")
    if not query:
        return encoded
    pairs = sorted((quote(name, safe="-._~"), quote(value, safe="-._~")) for name, value in query.items())
    return f"{encoded}?{'&'.join(f'{name}={value}' for name, value in pairs)}"
