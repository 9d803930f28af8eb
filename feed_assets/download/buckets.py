"""Objects of Cloud Storage (gs://) and S3 (s3://): requests over HTTP that a bucket's keys sign."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, cast
from urllib.parse import quote, unquote

import requests
from urllib3.exceptions import HTTPError

from feed_assets.config.feed import Feed
from feed_assets.download.cancellation import Transfer
from feed_assets.download.extras import extra
from feed_assets.download.http import check_status, send, unread
from feed_assets.download.response import BodyRequest, Response
from feed_assets.errors import AccessRefused, RequestRefused, SettingError, Unreachable
from feed_assets.urls import Url

_CODE = re.compile(rb"<Code>([A-Za-z]{1,60})</Code>")
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_LARGEST = 1 << 16  # bytes read of an error
_SECONDS = 3600  # for which a signature is valid; it is checked when a request arrives
_TOKEN_SECONDS = 30.0
"""Time limit of a request for a token."""
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"


_signing: ContextVar[bool] = ContextVar("signing", default=False)


class _Unlogged(logging.Filter):
    """Drop botocore's debug log of a signature, which lets anyone read the object for an hour."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _signing.get()


logging.getLogger("botocore.auth").addFilter(_Unlogged())


class Bucket(Protocol):
    """Signer of the requests for the objects of a feed. Threads share it."""

    def signed(self, url: Url) -> tuple[Url, Mapping[str, str]]:
        """Return the object's web address with a signature, and headers.

        Raises SettingError, and AccessRefused or Unreachable where credentials come from a server.
        """

    def is_elsewhere(self, response: requests.Response) -> bool:
        """Return True if the bucket is in another region, which the next signature is for."""


def bucket_of(feed: Feed) -> Bucket:
    """Return the signer. Raises SettingError if it lacks a package."""
    address = feed.address
    return S3(address.host) if address.scheme == "s3" else CloudStorage()


@contextmanager
def open_object(
    http: requests.Session,
    bucket: Bucket,
    feed: Feed,
    url: Url,
    request: BodyRequest,
    transfer: Transfer,
) -> Iterator[Response]:
    """Request an object, and yield the unread response. Credentials go to no other server."""
    headers, moved = request.headers(), False
    while True:
        asked, credentials = bucket.signed(url)
        response = send(http, feed, transfer, asked, headers={**headers, **credentials})
        with response:
            if not moved and bucket.is_elsewhere(response):
                moved = True
                continue
            if response.status_code >= 300:
                _add_code(response)
            if response.is_redirect:
                raise RequestRefused(
                    f"{url} redirects, and a signed request cannot follow; check the bucket, and "
                    f"the region and the endpoint that the environment names",
                    url=str(url),
                )
            check_status(response, url, headers, feed)
            yield unread(response, url, str(url), transfer)
            transfer.detach()
            return


def _add_code(response: requests.Response) -> None:
    """Add the error code of the response's XML to its reason: 403 Forbidden (AccessDenied)."""
    try:
        found = _CODE.search(response.raw.read(_LARGEST))
    except (OSError, HTTPError):  # the status alone is enough
        return
    if found:
        response.reason = f"{response.reason} ({found[1].decode()})"


def _at(asked: Url, url: Url) -> Url:
    """Return the signed address, whose errors show the object and the server, not the signature."""
    return replace(asked, template=f"{url.without_day} (at {asked.scheme}://{asked.host})")


class CloudStorage:
    """Objects of Cloud Storage, by its XML API and the default credentials of the environment.

    The XML API has the headers of HTTP for changed bodies and missing bytes.
    https://cloud.google.com/storage/docs/xml-api/get-object-download
    """

    def __init__(self) -> None:
        with extra("gcs", "gs"):
            from google.auth.transport.requests import Request
        self._request = partial(Request(), timeout=_TOKEN_SECONDS)
        self._lock, self._credentials = threading.Lock(), cast("Any", None)
        emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
        self._host = f"http://{emulator}" if emulator and "://" not in emulator else emulator

    def signed(self, url: Url) -> tuple[Url, Mapping[str, str]]:
        """Return the object's address and a header with a token."""
        host = self._host or "https://storage.googleapis.com"
        asked = _at(Url.parse(f"{host.rstrip('/')}/{quote(url.host)}{url.path}"), url)
        headers: dict[str, str] = {}
        if not self._host:
            self._add_token(asked, url, headers)
        return asked, headers

    def is_elsewhere(self, response: requests.Response) -> bool:
        """Return False: one address serves all regions."""
        return False

    def _add_token(self, asked: Url, url: Url, headers: dict[str, str]) -> None:
        from google.auth.exceptions import GoogleAuthError, TransportError

        try:
            with self._lock:
                if self._credentials is None:
                    self._credentials = _google_credentials(url)
                self._credentials.before_request(self._request, "GET", asked.full, headers)
        except GoogleAuthError as failure:
            if failure.retryable or isinstance(failure, TransportError):
                raise Unreachable(
                    f"Google issued no token for {url.without_day}", url=url.without_day
                ) from None
            raise AccessRefused(
                f"Google refused the credentials for {url.without_day}; check "
                f"GOOGLE_APPLICATION_CREDENTIALS, or run gcloud auth application-default login",
                url=url.without_day,
                status=401,
            ) from None


def _google_credentials(url: Url) -> Any:
    import google.auth

    variable = "GOOGLE_APPLICATION_CREDENTIALS"
    try:
        credentials, _ = google.auth.default(scopes=[_SCOPE])
    except google.auth.exceptions.DefaultCredentialsError:
        if path := os.environ.get(variable):
            why = f"{path}, which {variable} names, has no Google credentials that can be read"
        else:
            why = f"there are no Google credentials for {url.without_day}"
        raise SettingError(
            f"{why}; set {variable} to the file of a service account's key, or run gcloud auth "
            f"application-default login"
        ) from None
    return credentials


class S3:
    """Objects of S3 or of a store like it, by addresses that botocore signs.

    It finds credentials, region and endpoint as the AWS command line does: in AWS_* variables,
    ~/.aws and the metadata of a machine.
    """

    def __init__(self, bucket: str) -> None:
        with extra("s3", "s3"):
            import botocore.session
        self._bucket = bucket
        self._session, self._lock = botocore.session.Session(), threading.Lock()
        self._client: Any = None
        self._region: str | None = None

    def signed(self, url: Url) -> tuple[Url, Mapping[str, str]]:
        """Return the object's address with a signature in its query."""
        from botocore.exceptions import (
            BotoCoreError,
            HTTPClientError,
            NoCredentialsError,
            PartialCredentialsError,
        )

        place = {"Bucket": self._bucket, "Key": unquote(url.path)[1:]}
        token = _signing.set(True)
        try:
            with self._lock:
                self._client = self._client or self._new_client()
                asked = self._client.generate_presigned_url("get_object", place, ExpiresIn=_SECONDS)
            return _at(Url.parse(asked), url), {}
        except (NoCredentialsError, PartialCredentialsError):
            raise SettingError(
                f"there are no AWS credentials for {url.without_day}; set AWS_ACCESS_KEY_ID and "
                f"AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            ) from None
        except HTTPClientError:
            raise Unreachable(
                f"AWS issued no credentials for {url.without_day}", url=url.without_day
            ) from None
        except (BotoCoreError, ValueError) as failure:
            raise SettingError(
                f"{url.without_day} cannot be requested with the environment's AWS settings "
                f"({type(failure).__name__}); check the AWS_ variables and ~/.aws/config"
            ) from None
        finally:
            _signing.reset(token)

    def is_elsewhere(self, response: requests.Response) -> bool:
        """Return True if AWS names another region."""
        region = response.headers.get("x-amz-bucket-region", "")
        if response.status_code not in {301, 307, 400} or not _REGION.fullmatch(region):
            return False
        with self._lock:
            self._region, self._client = region, None
        return True

    def _new_client(self) -> Any:
        """Return a client for the region's own address; the global one redirects.

        The bucket is a part of the host, as AWS advises, unless a dot in its name does not fit the
        certificate, or the endpoint is not one of AWS.
        """
        client = self._client_for("path")
        endpoint = client.meta.endpoint_url
        if ".amazonaws.com" not in endpoint:
            return client
        if "." in self._bucket:
            return self._client_for("path", endpoint)
        return self._client_for("virtual")

    def _client_for(self, style: str, endpoint: str | None = None) -> Any:
        from botocore.config import Config

        config = Config(signature_version="s3v4", s3={"addressing_style": style})
        return self._session.create_client(
            "s3", region_name=self._region, endpoint_url=endpoint, config=config
        )
