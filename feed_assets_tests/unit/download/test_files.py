"""A feed in a file: of this machine, of an SFTP server, in a bucket."""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import botocore.loaders
import botocore.session
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from feed_assets.config.feed import Feed
from feed_assets.download import Unchanged, Validators
from feed_assets.download.buckets import S3, CloudStorage
from feed_assets.download.files import PIECE
from feed_assets.download.prefetch import PendingDay, prefetch_days
from feed_assets.errors import (
    AccessRefused,
    FeedAssetsError,
    NotFound,
    RequestRefused,
    ServerFailed,
    SettingError,
    TooLarge,
    TooSlow,
    Truncated,
    Unreachable,
)
from feed_assets.preview.preview import preview
from feed_assets.preview.request import PreviewRequest
from feed_assets.urls import Url
from feed_assets_tests.support.bigquery.storage import cloud_storage
from feed_assets_tests.support.servers.feed import Answer, FeedServer
from feed_assets_tests.support.servers.fetching import feed, fetched
from feed_assets_tests.support.servers.sftp import SftpHost, sftp_host

USERNAME, PASSWORD = "crm", "hunter2-sftp"
BODY = b"".join(b'{"n": %d, "text": "\xc3\xa4 b"}\n' % number for number in range(1000))
DAYS = [date(2020, 1, day) for day in range(1, 4)]
BY_DATE = {"partition_by_date": {"start_date": "2020-01-01"}}


aws_descriptions = cache(botocore.loaders.create_loader)  # each session parses megabytes otherwise


@dataclass
class Store:
    """A place for files: `put` stores one as `name`, `at` is the URL of a path."""

    at: str
    put: Callable[[str, bytes], None]
    attributes: dict[str, Any] = field(default_factory=dict)

    def feed(self, path: str, **attributes: Any) -> Feed:
        return feed(f"{self.at}/{path}", **{**self.attributes, **attributes})


def folder_put(folder: Path) -> Callable[[str, bytes], None]:
    def put(name: str, body: bytes) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        os.utime(path, (1_500_000_000, 1_500_000_000 + len(body)))

    return put


@pytest.fixture(scope="module")
def s3_client() -> Iterator[Any]:
    """A client of a real S3 server."""
    from moto.server import ThreadedMotoServer  # slow: it takes seconds

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    client = botocore.session.Session().create_client(
        "s3",
        endpoint_url="http://{}:{}".format(*server.get_host_and_port()),
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )
    client.create_bucket(Bucket="crm-exports")
    yield client
    client.close()
    server.stop()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, f"secret-{name}")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(botocore.loaders, "create_loader", aws_descriptions)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CRM_SFTP_USERNAME", USERNAME)
    monkeypatch.setenv("CRM_SFTP_PASSWORD", PASSWORD)


@pytest.fixture
def s3_store(
    s3_client: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Store:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_client.meta.endpoint_url)
    folder = request.node.originalname

    def put(name: str, body: bytes) -> None:
        s3_client.put_object(Bucket="crm-exports", Key=f"{folder}/{name}", Body=body)

    return Store(f"s3://crm-exports/{folder}", put)


def login(host: SftpHost, **attributes: Any) -> dict[str, Any]:
    declared = {"username_env": "CRM_SFTP_USERNAME", "password_env": "CRM_SFTP_PASSWORD"}
    return {"sftp": {**declared, "host_key": host.host_key, **attributes}}


@pytest.fixture
def sftp(tmp_path: Path) -> Iterator[SftpHost]:
    (tmp_path / "root").mkdir()
    with sftp_host(tmp_path / "root", USERNAME, PASSWORD) as host:
        yield host


@pytest.fixture(params=["file", "sftp", "gs", "s3"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    root = tmp_path / "root"
    if request.param == "s3":
        yield request.getfixturevalue("s3_store")
    elif request.param == "sftp":
        host = request.getfixturevalue("sftp")
        yield Store(f"sftp://127.0.0.1:{host.port}", folder_put(root), login(host))
    elif request.param == "gs":
        (root / "crm-exports").mkdir(parents=True)
        with cloud_storage(root) as emulator:
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator.url)
            yield Store("gs://crm-exports", folder_put(root / "crm-exports"))
    else:
        yield Store(f"file://{root}", folder_put(root))


def outcomes(declared: Feed, before: Validators | None = None) -> list[tuple[Any, bytes | None]]:
    """The outcome of each day, and its body if it has one."""
    found = []
    days = [None] if declared.partition_by_date is None else DAYS
    with closing(prefetch_days(declared, days, if_changed_from=before)) as each_day:
        for _, outcome in each_day:
            body = None
            if isinstance(outcome, PendingDay):
                source = outcome.download.source
                body = source.read(0, source.wait_for(sys.maxsize))
            found.append((outcome, body))
    return found


def test_a_file_is_the_body_decompressed_and_the_day_is_a_part_of_its_path(store: Store) -> None:
    store.put("a b/2020/01/01 é+.ndjson.gz", gzip.compress(BODY))
    store.put("a b/2020/01/02 é+.ndjson.gz", b"")
    declared = store.feed(
        "a%20b/{date:%Y/%m/%d}%20%C3%A9+.ndjson.gz", **BY_DATE, empty_statuses=[404]
    )

    found = outcomes(declared)

    assert [body for _, body in found] == [BODY, b"", b""]
    assert all(outcome.download.info.result().end_is_marked for outcome, _ in found)
    assert found[0][0].download.url == f"{store.at}/a%20b/2020/01/01%20%C3%A9+.ndjson.gz"


def test_a_missing_file_is_named_with_its_day(store: Store) -> None:
    store.put("2020-01-02.ndjson", BODY)
    (first, _), (_, second), _ = outcomes(store.feed("{date:%Y-%m-%d}.ndjson", **BY_DATE))

    assert isinstance(first, NotFound)
    assert str(first).startswith(f"{store.at}/2020-01-01.ndjson ")
    assert str(first).endswith("check the feed's url, and that it has this day")
    assert second == BODY


def test_an_unchanged_snapshot_is_not_read_again(store: Store) -> None:
    declared = store.feed("orders.ndjson")
    store.put("orders.ndjson", BODY)
    ((first, _),) = outcomes(declared)
    validators = first.download.info.result().validators

    assert validators.strong
    assert outcomes(declared, validators) == [(Unchanged(str(declared.address)), None)]
    store.put("orders.ndjson", BODY + BODY)
    ((_, body),) = outcomes(declared, validators)
    assert body == BODY + BODY


def test_a_json_document_and_the_limit_of_size_hold_for_files_too(store: Store) -> None:
    store.put("orders.json", b'{"items":[{"n":1},{"n":2}]}')
    declared = store.feed("orders.json", format="json", records="items")
    assert fetched(declared) == b'{"n":1}\n{"n":2}\n'

    with pytest.raises(TooLarge, match="is larger than 5 bytes"):
        fetched(store.feed("orders.json", max_feed_bytes=5))


def test_a_preview_reads_the_same_files_and_writes_the_same_url(store: Store) -> None:
    store.put("orders_2020-01-02.ndjson", b'{"orderId": "N1"}\n')
    url = f"{store.at}/orders_{{date:%Y-%m-%d}}.ndjson"
    found = preview(PreviewRequest(url, date(2020, 1, 2), None, store.attributes))

    assert found.rows == 1
    assert found.feed.url == url
    assert found.feed.name == "orders"


def test_no_secret_of_a_store_is_shown(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.put("orders.ndjson", BODY)
    caplog.set_level(1)
    shown = [repr(each) for each in outcomes(store.feed("orders.ndjson"))]
    with pytest.raises(NotFound) as missing:
        fetched(store.feed("nothing.ndjson"))

    logs = [each.getMessage() for each in caplog.records if each.name != "werkzeug"]  # moto's
    for text in (*shown, str(missing.value), *logs):
        assert PASSWORD not in text
        assert "Signature" not in text
        assert "secret-AWS_SECRET" not in text


def test_the_error_of_a_missing_object_has_the_error_code_of_the_bucket(
    s3_store: Store,
) -> None:
    with pytest.raises(NotFound, match=r"answered 404 .*\(NoSuchKey\); check the feed's url$"):
        fetched(s3_store.feed("orders.ndjson"))
    with pytest.raises(NotFound, match=r"\(NoSuchBucket\)"):
        fetched(feed("s3://nobodys-bucket/orders.ndjson"))


def test_a_bucket_in_another_region_is_requested_there(
    server: FeedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(path: str) -> Answer:
        if "%2Feu-central-1%2F" in path:
            return Answer(BODY)
        return Answer(b"", 400, {"x-amz-bucket-region": "eu-central-1"})

    server.answer = answer
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url.removesuffix("/feed"))

    assert fetched(feed("s3://crm-exports/orders.ndjson")) == BODY
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (
            Answer(b"<Error><Code>AccessDenied</Code></Error>", 403),
            AccessRefused,
            r"^s3://crm-exports/orders.ndjson answered 403 Forbidden \(AccessDenied\); check that "
            "the environment's credentials may read it; those that may not list",
        ),
        (Answer(b"<Error><Code>SlowDown</Code></Error>", 503), ServerFailed, "SlowDown.*try again"),
        (
            Answer(status=307, headers={"Location": "http://b.example/"}),
            RequestRefused,
            "redirects",
        ),
        (Answer(BODY, headers={"Content-Length": "999999"}), Truncated, "broke off before its end"),
    ],
)
def test_an_error_of_a_bucket_is_one_sentence(
    answer: Answer,
    error: type[FeedAssetsError],
    says: str,
    server: FeedServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.answer = lambda path: answer
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url.removesuffix("/feed"))

    with pytest.raises(error, match=says):
        fetched(feed("s3://crm-exports/orders.ndjson", max_attempts=1))


@pytest.mark.parametrize(
    ("region", "bucket", "address"),
    [
        (None, "crm-exports", "https://crm-exports.s3.amazonaws.com/a"),
        ("eu-central-1", "crm-exports", "https://crm-exports.s3.eu-central-1.amazonaws.com/a"),
        ("eu-central-1", "crm.exports", "https://s3.eu-central-1.amazonaws.com/crm.exports/a"),
        ("cn-north-1", "crm-exports", "https://crm-exports.s3.cn-north-1.amazonaws.com.cn/a"),
    ],
)
def test_a_bucket_of_aws_has_the_address_of_its_region(
    region: str | None, bucket: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if region:
        monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    url = Url.parse(f"s3://{bucket}/a", schemes=["s3"])
    signed, _ = S3(bucket).signed(url)

    assert signed.full.partition("?")[0] == address
    assert f"%2F{region or 'us-east-1'}%2Fs3%2F" in signed.full
    assert signed.without_day == f"s3://{bucket}/a (at https://{signed.host})"


@pytest.mark.parametrize(
    ("url", "changes", "error", "says"),
    [
        (
            "s3://crm-exports/a",
            {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None},
            SettingError,
            "^there are no AWS credentials for s3://crm-exports/a; set AWS_ACCESS_KEY_ID",
        ),
        ("s3://crm-exports/a", {"AWS_PROFILE": "nobody"}, SettingError, r"\(ProfileNotFound\)"),
        (
            "s3://crm-exports/a",
            {"AWS_ENDPOINT_URL": "http://me:x@b/"},
            SettingError,
            "AWS settings",
        ),
        (
            "s3://crm-exports/a",
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"},
            Unreachable,
            r"^s3://crm-exports/a \(at http://127.0.0.1\) cannot be reached",
        ),
        (
            "gs://crm-exports/a",
            {"GOOGLE_APPLICATION_CREDENTIALS": "/nobody.json"},
            SettingError,
            "^/nobody.json, which GOOGLE_APPLICATION_CREDENTIALS names, has no Google credentials",
        ),
    ],
)
def test_missing_or_wrong_credentials_fail_with_one_sentence(
    url: str,
    changes: dict[str, str | None],
    error: type[FeedAssetsError],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in changes.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)

    with pytest.raises(error, match=says):
        fetched(feed(url, max_attempts=1))


@pytest.mark.parametrize("refused", [False, True])
def test_cloud_storage_gets_a_token_of_the_environments_credentials(
    refused: bool, server: FeedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    account = {
        "type": "service_account",
        "client_email": "crm@example.com",
        "private_key": key.decode(),
        "token_uri": server.url,
    }
    (tmp_path / "key.json").write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    issued = {"access_token": "abc", "expires_in": 3600}
    answer = Answer(json.dumps({"error": "invalid_grant"} if refused else issued).encode())
    server.token = lambda: replace(answer, status=400 if refused else 200)
    bucket, url = CloudStorage(), Url.parse("gs://crm-exports/a%20b", schemes=["gs"])

    if refused:
        with pytest.raises(AccessRefused, match=r"^Google refused the credentials for gs://crm-"):
            bucket.signed(url)
        return
    for _ in range(2):
        asked, headers = bucket.signed(url)
        assert asked.full == "https://storage.googleapis.com/crm-exports/a%20b"
        assert headers["authorization"] == "Bearer abc"
    assert len(server.posts) == 1


@pytest.mark.parametrize(
    ("scheme", "package", "name"),
    [
        ("s3", "botocore.session", "s3"),
        ("gs", "google.auth.transport.requests", "gcs"),
        ("sftp", "asyncssh", "sftp"),
    ],
)
def test_the_error_of_a_missing_package_has_the_command_to_install_it(
    scheme: str, package: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(
        SettingError, match=rf"{scheme}://.*run pip install 'feed_assets\[{name}\]'"
    ):
        fetched(feed(f"{scheme}://crm-exports/a"))


def test_a_folder_or_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(RequestRefused, match="is not a file, but a folder, a pipe or a device"):
            fetched(feed(f"file://{tmp_path}/{name}"))


def test_a_file_that_changes_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, real, before = folder_put(tmp_path), os.pread, b'{"n": 1}\n' * (PIECE // 4)
    put("orders.ndjson", before)
    after = before.replace(b"1", b"2")

    def pread(descriptor: int, size: int, position: int) -> bytes:
        if size == PIECE and position == PIECE:
            put("orders.ndjson", after)
            monkeypatch.undo()
        return real(descriptor, size, position)

    monkeypatch.setattr(os, "pread", pread)
    assert fetched(feed(f"file://{tmp_path}/orders.ndjson")) == after


def test_an_sftp_file_is_resumed_over_a_new_connection(sftp: SftpHost, tmp_path: Path) -> None:
    body = BODY * (2 * PIECE // len(BODY))
    folder_put(tmp_path / "root")("orders.ndjson", body)
    sftp.cut_at = PIECE + 1

    declared = feed(f"sftp://localhost:{sftp.port}/orders.ndjson", **login(sftp))
    assert fetched(declared) == body
    assert sftp.cut_at is None
    assert sftp.logins == [USERNAME, USERNAME]


def test_a_feed_without_a_login_uses_the_users_ssh_configuration(
    sftp: SftpHost, tmp_path: Path
) -> None:
    folder_put(tmp_path / "root")("orders.ndjson", BODY)
    ssh = tmp_path / ".ssh"
    ssh.mkdir()
    (ssh / "known_hosts").write_text(f"[127.0.0.1]:{sftp.port} {sftp.host_key}\n")
    (ssh / "id_ed25519").write_text(sftp.client_key)
    (ssh / "config").write_text(f"Host crm\n  HostName 127.0.0.1\n  User {USERNAME}\n")

    assert fetched(feed(f"sftp://crm:{sftp.port}/orders.ndjson")) == BODY
    assert sftp.logins == [USERNAME]


@pytest.mark.parametrize("variable", ["the key", "its path"])
def test_a_private_key_logs_in(
    variable: str, sftp: SftpHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder_put(tmp_path / "root")("orders.ndjson", BODY)
    (tmp_path / "id").write_text(sftp.client_key)
    monkeypatch.setenv("KEY", sftp.client_key if variable == "the key" else str(tmp_path / "id"))
    attributes = login(sftp, password_env=None, private_key_env="KEY")

    assert fetched(feed(f"sftp://127.0.0.1:{sftp.port}/orders.ndjson", **attributes)) == BODY


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"CRM_SFTP_PASSWORD": "wrong"}, AccessRefused, "refused the login; check what the "),
        ({"KEY": "/nobody"}, SettingError, "variable KEY names a private key that cannot be read"),
        (
            {"KEY": "-----BEGIN X"},
            SettingError,
            "is not a private key that its passphrase decrypts",
        ),
        ({"host_key": None}, SettingError, "host key SHA256:.*add host_key: ssh-ed25519 AAAA"),
    ],
)
def test_a_failed_login_gives_one_sentence_and_is_not_retried(
    changes: dict[str, Any],
    error: type[FeedAssetsError],
    says: str,
    sftp: SftpHost,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attributes: dict[str, Any] = {}
    for name, value in changes.items():
        if name == "host_key":
            attributes[name] = value
        else:
            monkeypatch.setenv(name, value)
        if name == "KEY":
            attributes |= {"password_env": None, "private_key_env": "KEY"}
    declared = feed(
        f"sftp://127.0.0.1:{sftp.port}/{{date}}.ndjson", **BY_DATE, **login(sftp, **attributes)
    )

    found = outcomes(declared)

    assert {type(failed) for failed, _ in found} == {error}
    assert len({str(failed) for failed, _ in found}) == 1
    with pytest.raises(error, match=says):
        raise found[0][0]
    assert len(sftp.logins) <= 1


def test_a_stalled_server_is_given_up_at_a_time_limit_or_when_the_read_is_cancelled(
    sftp: SftpHost, tmp_path: Path
) -> None:
    folder_put(tmp_path / "root")("orders.ndjson", BODY)
    sftp.stalled = True
    url, known = f"sftp://127.0.0.1:{sftp.port}/orders.ndjson", login(sftp)

    with pytest.raises(TooSlow, match=r"longer than 0\.5 s \(download_timeout\)"):
        fetched(feed(url, **known, download_timeout=0.5))
    with pytest.raises(Truncated, match="broke off before its end"):
        fetched(feed(url, **known, read_timeout=0.2, max_attempts=1))
    with closing(prefetch_days(feed(url, **known), [None])) as days:
        assert isinstance(next(days)[1], PendingDay)  # its end cancels the read
