"""The S3 dialect: which operation a request is, and the XML of the answers."""

import time
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl, quote, unquote
from xml.sax.saxutils import escape, unescape

from benchmarks.sink.store import Page, Store

NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
HEADER = '<?xml version="1.0" encoding="UTF-8"?>\n'


def split_target(target: str) -> tuple[str, str, dict[str, str]]:
    """(bucket, key, query) of a path-style request target."""
    path, _, query = target.partition("?")
    bucket, _, key = unquote(path.lstrip("/")).partition("/")
    return bucket, key, dict(parse_qsl(query, keep_blank_values=True))


def operation(method: str, key: str, query: Mapping[str, str]) -> str:
    """Name of what a request asks for, as it is counted; other requests for a bucket are "bucket"."""
    if "uploadId" in query:
        return {"PUT": "part", "POST": "complete", "DELETE": "abort"}.get(method, "parts")
    if "uploads" in query:
        return "create" if method == "POST" else "uploads"
    if "delete" in query:
        return "delete"
    if key:
        return {"PUT": "put", "GET": "get", "HEAD": "head", "DELETE": "delete"}.get(method, "unknown")
    is_question = method != "GET" or "location" in query or "versioning" in query
    return "bucket" if is_question else "list"


def stamp(seconds: float) -> str:
    """A time as XML answers show it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(seconds))


def http_date(seconds: float) -> str:
    """A time as headers show it."""
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(seconds))


def url_name(text: str) -> str:
    """A name in the encoding that a listing can be asked to use."""
    return escape(quote(text, safe="/"))


def list_answer(store: Store, bucket: str, query: Mapping[str, str]) -> str:
    """Answer to ListObjectsV2, or to the older listing when it was asked for."""
    is_new = query.get("list-type") == "2"
    after = query.get("continuation-token") or query.get("start-after") or query.get("marker") or ""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    page = store.page(bucket, prefix, delimiter, after, int(query.get("max-keys", "1000")))
    name = url_name if query.get("encoding-type") == "url" else escape
    lines = [f"<Name>{bucket}</Name><Prefix>{name(prefix)}</Prefix><MaxKeys>1000</MaxKeys>"]
    lines.append(f"<IsTruncated>{str(page.is_truncated).lower()}</IsTruncated>")
    if "encoding-type" in query:
        lines.append("<EncodingType>url</EncodingType>")
    if page.is_truncated:
        more = "NextContinuationToken" if is_new else "NextMarker"
        lines.append(f"<{more}>{escape(page.last)}</{more}>")
    if is_new:
        lines.append(f"<KeyCount>{len(page.keys) + len(page.prefixes)}</KeyCount>")
    lines += contents(store, bucket, page, name)
    return f"{HEADER}<ListBucketResult {NAMESPACE}>{''.join(lines)}</ListBucketResult>"


def contents(store: Store, bucket: str, page: Page, name: Callable[[str], str]) -> list[str]:
    """The entries of one page."""
    lines = []
    for key in page.keys:
        held = store.get(f"{bucket}/{key}")
        if held is not None:
            facts = f"<Size>{held.size}</Size><StorageClass>STANDARD</StorageClass>"
            tag = f"<LastModified>{stamp(held.modified)}</LastModified><ETag>&quot;{held.etag}&quot;</ETag>"
            lines.append(f"<Contents><Key>{name(key)}</Key>{tag}{facts}</Contents>")
    prefixes = (f"<CommonPrefixes><Prefix>{name(prefix)}</Prefix></CommonPrefixes>" for prefix in page.prefixes)
    return [*lines, *prefixes]


def error_answer(code: str) -> str:
    """Body of an error."""
    return f"{HEADER}<Error><Code>{code}</Code><Message>{code}</Message><RequestId>0</RequestId></Error>"


def upload_answer(bucket: str, key: str, identity: str) -> str:
    """Answer to CreateMultipartUpload."""
    names = f"<Bucket>{bucket}</Bucket><Key>{escape(key)}</Key><UploadId>{identity}</UploadId>"
    return f"{HEADER}<InitiateMultipartUploadResult {NAMESPACE}>{names}</InitiateMultipartUploadResult>"


def uploads_answer(store: Store, bucket: str) -> str:
    """Answer to ListMultipartUploads: all of a bucket's."""
    entries = "".join(
        f"<Upload><Key>{escape(key)}</Key><UploadId>{identity}</UploadId></Upload>"
        for key, identity in store.uploads(bucket)
    )
    head = f"<Bucket>{bucket}</Bucket><IsTruncated>false</IsTruncated>"
    return f"{HEADER}<ListMultipartUploadsResult {NAMESPACE}>{head}{entries}</ListMultipartUploadsResult>"


def complete_answer(bucket: str, key: str, etag: str) -> str:
    """Answer to CompleteMultipartUpload."""
    names = f"<Bucket>{bucket}</Bucket><Key>{escape(key)}</Key><ETag>&quot;{etag}&quot;</ETag>"
    return f"{HEADER}<CompleteMultipartUploadResult {NAMESPACE}>{names}</CompleteMultipartUploadResult>"


def bucket_answer(query: Mapping[str, str]) -> str:
    """Answer to a question about a bucket: an unversioned one in us-east-1."""
    if "versioning" in query:
        return f"{HEADER}<VersioningConfiguration {NAMESPACE}/>"
    return f"{HEADER}<LocationConstraint {NAMESPACE}/>"


def deleted_answer() -> str:
    """Answer to DeleteObjects that names only failures, of which there are none."""
    return f"{HEADER}<DeleteResult {NAMESPACE}/>"


def plain(text: str) -> str:
    """A name as it was before it was put into XML."""
    return unescape(text, {"&quot;": '"', "&apos;": "'"})
