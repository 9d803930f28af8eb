"""A Cloud Storage for tests with the real client: its objects are files that the emulator reads.

https://cloud.google.com/storage/docs/json_api/v1
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c

from feed_assets_tests.support.bigquery.discovery import NotInApi, api
from feed_assets_tests.support.servers.feed import running


@dataclass
class CloudStorage:
    """`folder/bucket/object` is an object; a bucket is a folder that exists."""

    url: str
    folder: Path
    calls: list[str] = field(default_factory=list)

    def objects(self, bucket: str) -> list[Path]:
        """The objects of a bucket, with the folders in their names."""
        return sorted(path for path in (self.folder / bucket).rglob("*") if path.is_file())


@contextmanager
def cloud_storage(folder: Path) -> Iterator[CloudStorage]:
    """A server on a free port."""
    uploads: dict[str, tuple[Path, str]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """https://cloud.google.com/storage/docs/performing-resumable-uploads"""
            bucket = unquote(urlsplit(self.path).path.split("/")[-2])
            storage.calls.append(f"upload to {bucket}")
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            self.check(body)
            named = json.loads(body)["name"]
            if not (folder / bucket).is_dir():
                self.answer(
                    404, {"error": {"code": 404, "message": "The specified bucket does not exist."}}
                )
                return
            upload = str(len(uploads))
            uploads[upload] = (folder / bucket / named, named)
            uploads[upload][0].parent.mkdir(parents=True, exist_ok=True)
            (folder / f"upload-{upload}").write_bytes(b"")
            self.answer(200, {}, Location=f"{storage.url}/upload/{upload}")

        def do_PUT(self) -> None:
            upload = self.path.rpartition("/")[2]
            place, named = uploads[upload]
            arrived = folder / f"upload-{upload}"
            with arrived.open("ab") as file:
                file.write(self.rfile.read(int(self.headers["Content-Length"])))
            total = self.headers["Content-Range"].rpartition("/")[2]
            size = arrived.stat().st_size
            if total != str(size):
                self.answer(308, None, Range=f"bytes=0-{size - 1}")
                return
            arrived.rename(place)
            self.answer(200, described(place, named))

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path.startswith("/storage/"):
                self.check()
            if not parts.path.startswith("/storage/"):
                self.download(folder / unquote(parts.path)[1:])
                return
            if not parts.path.endswith("/o"):
                self.answer(404, {"error": {"code": 404, "message": f"not emulated: {self.path}"}})
                return
            bucket = unquote(parts.path.split("/")[-2])
            prefix = parse_qs(parts.query)["prefix"][0]
            names = [str(path.relative_to(folder / bucket)) for path in storage.objects(bucket)]
            storage.calls.append(f"list {prefix}")
            items = [described(folder / bucket / n, n) for n in names if n.startswith(prefix)]
            self.answer(200, {"items": items})

        def download(self, path: Path) -> None:
            """https://cloud.google.com/storage/docs/xml-api/get-object-download"""
            storage.calls.append(f"download {path.relative_to(folder)}")
            if not path.is_file():
                in_bucket = (folder / path.relative_to(folder).parts[0]).is_dir()
                code = "NoSuchKey" if in_bucket else "NoSuchBucket"
                self.answer_bytes(404, f"<Error><Code>{code}</Code></Error>".encode())
                return
            body = path.read_bytes()
            tag = f'"{hashlib.md5(body).hexdigest()}"'
            first = 0
            if found := re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or ""):
                first = int(found[1])
            if self.headers["If-None-Match"] == tag:
                self.answer_bytes(304, b"", ETag=tag)
            elif first:
                total = f"bytes {first}-{len(body) - 1}/{len(body)}"
                self.answer_bytes(206, body[first:], ETag=tag, **{"Content-Range": total})
            else:
                self.answer_bytes(200, body, ETag=tag)

        def answer_bytes(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_DELETE(self) -> None:
            self.check()
            *_, bucket, _, named = urlsplit(self.path).path.split("/")
            storage.calls.append(f"delete {unquote(named)}")
            (folder / bucket / unquote(named)).unlink()
            self.answer(204, None)

        def check(self, body: bytes = b"") -> None:
            """Answer 400 to a request that Storage's API does not have."""
            try:
                api("storage.v1").check(self.command, self.path, body)
            except NotInApi as problem:
                self.answer(400, {"error": {"code": 400, "message": str(problem)}})
                raise

        def answer(self, status: int, body: Any, **headers: str) -> None:
            data = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, running(server) as url:
        storage = CloudStorage(url, folder)
        yield storage


def described(path: Path, named: str) -> dict[str, str]:
    checksum = google_crc32c.value(path.read_bytes()).to_bytes(4, "big")
    made = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return {
        "name": named,
        "size": str(path.stat().st_size),
        "crc32c": base64.b64encode(checksum).decode(),
        "timeCreated": made.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
