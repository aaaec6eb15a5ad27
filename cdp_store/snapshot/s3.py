"""S3 and compatible services: endpoint, region and credentials from the usual environment, failures in plain words.

`AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` name a server other than Amazon's, `AWS_REGION` or `AWS_DEFAULT_REGION` the
region; credentials are found the way Amazon's own tools find them.
"""

from __future__ import annotations

import os
from typing import Final
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs

from cdp_store.errors import PlaceUnusable

SCHEME: Final = "s3"
_CONNECT_SECONDS: Final = 5.0
_REQUEST_SECONDS: Final = 60.0
_ATTEMPTS: Final = 3
_REGION: Final = "us-east-1"  # for servers that have no regions
_REFUSED: Final = ("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "EXPIRED_TOKEN", "HTTP 403")


def open_s3(uri: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """The file system and the path in it of `s3://bucket/folder`; PlaceUnusable unless its bucket can be reached."""
    parts = urlsplit(uri)
    if not parts.netloc or parts.query:
        raise PlaceUnusable(uri, "an address in S3 looks like s3://bucket/folder")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or (_REGION if endpoint else None)
    try:
        filesystem = pyarrow.fs.S3FileSystem(
            endpoint_override=endpoint,
            region=region,
            connect_timeout=_CONNECT_SECONDS,
            request_timeout=_REQUEST_SECONDS,
            retry_strategy=pyarrow.fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
        )
        [bucket] = filesystem.get_file_info([parts.netloc])
    except (OSError, ValueError, pa.ArrowInvalid) as error:
        raise PlaceUnusable(uri, explain(error)) from error
    if bucket.type is pyarrow.fs.FileType.NotFound:
        raise PlaceUnusable(uri, f"there is no bucket {parts.netloc}; create it or correct the address")
    return filesystem, f"{parts.netloc}{parts.path}".rstrip("/")


def explain(error: Exception) -> str:
    """Explains a failure of S3; other failures keep their own text."""
    text = str(error)
    if "NETWORK_CONNECTION" in text or "curlCode" in text:
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        where = f"at {endpoint}" if endpoint else "at Amazon's endpoint; for another one set AWS_ENDPOINT_URL"
        return f"no server answers {where} ({text})"
    if any(code in text for code in _REFUSED):
        return f"the credentials are refused; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and their rights ({text})"
    if "NO_SUCH_BUCKET" in text:
        return f"the bucket does not exist ({text})"
    return text
