"""A proxy between BigQuery's client and its emulator, with faults that a test sets.

It also records and counts the calls that a client makes.
"""

from __future__ import annotations

import json
import math
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import requests
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from requests.adapters import HTTPAdapter

HUNG = "X-Hung"
NAMES = {
    "start upload": r"POST /upload/jobs",
    "send upload": r"PUT /upload/jobs",
    "upload": r"POST /upload/jobs\?multipart",
    "insert job": r"POST /jobs",
    "get job": r"GET /jobs/[^/]+",
    "cancel job": r"POST /jobs/[^/]+/cancel",
    "query": r"POST /queries",
    "get results": r"GET /queries/[^/]+",
    "get dataset": r"GET /datasets/[^/]+",
    "create dataset": r"POST /datasets",
    "list tables": r"GET /datasets/[^/]+/tables",
    "get table": r"GET /datasets/[^/]+/tables/[^/]+",
    "create table": r"POST /datasets/[^/]+/tables",
    "update table": r"PATCH /datasets/[^/]+/tables/[^/]+",
    "list rows": r"GET /datasets/[^/]+/tables/[^/]+/data",
}
"""Names of the calls of BigQuery's API, each with its method and path in a project."""


@dataclass(frozen=True)
class Call:
    """A request of a client: `path` without its query, decoded."""

    method: str
    path: str
    query: dict[str, list[str]] = field(default_factory=dict)
    target: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def name(self) -> str:
        """One of NAMES; where none fits, method and path."""
        route = f"{self.method} {re.sub('/bigquery/v2/projects/[^/]+', '', self.path)}"
        if self.query.get("uploadType") == ["multipart"]:
            route += "?multipart"
        return next((n for n, of in NAMES.items() if re.fullmatch(of, route)), route)

    @property
    def job(self) -> dict[str, Any]:
        """The job that an upload is for, as the client described it."""
        head = self.body
        if self.name == "upload":
            head = head.split(b"\r\n\r\n", maxsplit=2)[1].partition(b"\r\n--")[0]
        job: dict[str, Any] = json.loads(head)
        return job

    @property
    def last(self) -> str:
        """The last part of the path: a table's, a job's, a dataset's name."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Answer:
    """Response for the client."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Exchange:
    """A call that a fault handles: the fault may forward it, answer it, both or neither."""

    def __init__(self, proxy: FaultProxy, handler: BaseHTTPRequestHandler, call: Call) -> None:
        self.proxy = proxy
        self.call = call
        self._handler = handler

    def forward(self, call: Call | None = None) -> Answer:
        """Forward the call to the emulator, and return its answer."""
        return self.proxy.ask(call or self.call)

    def answer(self, answer: Answer, *, promised: int | None = None) -> None:
        """Answer the client; with `promised`, as if the body had so many bytes."""
        self._handler.send_response(answer.status)
        for name, value in answer.headers.items():
            self._handler.send_header(name, value)
        self._handler.send_header("Content-Length", str(promised or len(answer.body)))
        self._handler.end_headers()
        self._handler.wfile.write(answer.body)

    def reset(self) -> None:
        """Reset the connection."""
        linger = struct.pack("ii", 1, 0)
        self._handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


Fault = Callable[[Exchange], None]

# --- faults


def refused(code: int, reason: str, message: str = "as the test wants it") -> Fault:
    """Not forwarded, and an error of the API instead.

    https://cloud.google.com/bigquery/docs/error-messages
    """
    return lambda exchange: exchange.answer(error(code, reason, message))


def reset(exchange: Exchange) -> None:
    """The connection is reset before anything was done."""
    exchange.reset()


def lost(exchange: Exchange) -> None:
    """Do the call, and reset the connection before the answer."""
    exchange.forward()
    exchange.reset()


def cut(exchange: Exchange) -> None:
    """Do the call, and send half of the answer."""
    answer = exchange.forward()
    if not answer.body:
        exchange.reset()
        return
    half = Answer(answer.status, answer.body[: len(answer.body) // 2], answer.headers)
    exchange.answer(half, promised=len(answer.body))


def hung(exchange: Exchange) -> None:
    """Do not answer until the client's timeout, which takes no time; do nothing."""
    exchange.answer(Answer(503, b"", {HUNG: "yes"}))


def hang(exchange: Exchange) -> None:
    """The same, and the client's timeout passes."""
    exchange.proxy.over.wait()
    exchange.reset()


def garbled(exchange: Exchange) -> None:
    """Nothing is done, and the answer is a page."""
    exchange.answer(Answer(200, b"<html>Bad Gateway</html>", {"Content-Type": "text/html"}))


def changed(change: Callable[[Any], Any]) -> Fault:
    """Do the call, and send a different answer."""

    def fault(exchange: Exchange) -> None:
        answer = exchange.forward()
        exchange.answer(as_json(change(answer.json)) if answer.status == 200 else answer)

    return fault


def before(do: Callable[[], object]) -> Fault:
    """Call `do` first, then forward and answer the call."""

    def fault(exchange: Exchange) -> None:
        do()
        exchange.answer(exchange.forward())

    return fault


def failing_job(reason: str, message: str = "as the test wants it") -> Fault:
    """For "send upload" and "upload": the load job fails and has changed nothing."""

    def fault(exchange: Exchange) -> None:
        job = exchange.proxy.uploaded(exchange.call)
        problem = {"reason": reason, "message": message}
        job["status"] = {"state": "DONE", "errorResult": problem, "errors": [problem]}
        exchange.proxy.add_job(PendingJob(job, exchange.call, math.inf))
        exchange.answer(as_json(job))

    return fault


def slow_job(polls: float, *, cancel: str = "stops") -> Fault:
    """For "send upload" and "upload": the job is RUNNING for so many polls, and then does its load.

    A request to cancel it `stops` it, or comes too `late`, as it has just ended, or is `refused`.
    """

    def fault(exchange: Exchange) -> None:
        job = exchange.proxy.uploaded(exchange.call)
        job["status"] = {"state": "RUNNING"}
        exchange.proxy.add_job(PendingJob(job, exchange.call, polls, cancel))
        exchange.answer(as_json(job))

    return fault


# --- the proxy


@dataclass
class PendingJob:
    """A job that the emulator does not know yet."""

    resource: dict[str, Any]
    upload: Call
    polls: float
    cancel: str = "stops"

    @property
    def running(self) -> bool:
        return bool(self.resource["status"]["state"] == "RUNNING")


@dataclass
class _Rule:
    fault: Fault
    name: str | None
    last: str | None
    when: Callable[[int], bool]
    matched: int = 0


class FaultProxy:
    """Forward calls to which no fault applies. `calls` are those of clients, in order."""

    def __init__(self, to: str, url: str) -> None:
        self.url = url
        self.over = threading.Event()
        self.calls: list[Call] = []
        self.loads: list[str] = []
        """The ids of the load jobs that the emulator has run and that changed a table."""
        self._to = urlsplit(to).netloc
        self._rules: list[_Rule] = []
        self._jobs: dict[str, PendingJob] = {}
        self._uploads: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def on(
        self,
        name: str | None,
        fault: Fault,
        *,
        last: str | None = None,
        when: Callable[[int], bool] = lambda nth: True,
    ) -> None:
        """Apply a fault to the calls of this name (None: any) and this last part of a path.

        `when` is asked with the number of the match, from 1. The first rule that fits counts.
        """
        self._rules.append(_Rule(fault, name, last, when))

    def clear(self) -> None:
        """Forget faults and calls."""
        self._rules.clear()
        self.calls.clear()
        self.loads.clear()

    def counted(self) -> Counter[str]:
        """Count the calls by name."""
        return Counter(call.name for call in self.calls)

    def client(self, project: str = "test-project", location: str | None = "EU") -> bigquery.Client:
        """A client of the emulator through the proxy, as patient as Google's is."""
        client = bigquery.Client(
            project=project,
            location=location,
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options=ClientOptions(api_endpoint=self.url),
        )
        client._http.mount("http://", Transport())
        return client

    def take(self, exchange: Exchange) -> None:
        """Handle a call by the first rule that matches it."""
        call = exchange.call
        with self._lock:
            self.calls.append(call)
            fault = self._fault(call)
        if fault is not None:
            fault(exchange)
        else:
            exchange.answer(self.ask(call))

    def _fault(self, call: Call) -> Fault | None:
        for rule in self._rules:
            if rule.name in (None, call.name) and rule.last in (None, call.last):
                rule.matched += 1
                if rule.when(rule.matched):
                    return rule.fault
        return None

    def ask(self, call: Call) -> Answer:
        """Answer as the emulator does, also for a job that the proxy has not forwarded."""
        job = self._jobs.get(_job_id(call))
        if job is None:
            return self._forward(call)
        if call.name in ("start upload", "upload"):
            return error(409, "duplicate", f"Already Exists: Job {_job_id(call)}")
        if call.name == "cancel job" and job.running:
            if job.cancel == "refused":
                return error(503, "backendError", "no")
            if job.cancel == "late":
                return as_json({"job": self._run(job)})
            job.resource["status"] = {
                "state": "DONE",
                "errorResult": {"reason": "stopped", "message": "Job execution was cancelled"},
            }
        if call.name == "get job" and job.running:
            job.polls -= 1
            if job.polls < 0:
                return as_json(self._run(job))
        return as_json({"job": job.resource} if call.name == "cancel job" else job.resource)

    def _run(self, job: PendingJob) -> Any:
        del self._jobs[job.resource["jobReference"]["jobId"]]
        return self._forward(job.upload).json

    def uploaded(self, call: Call) -> dict[str, Any]:
        """The job that an upload is for, as the client described it."""
        if call.name == "upload":
            return call.job
        (upload,) = call.query["upload_id"]
        job: dict[str, Any] = json.loads(self._uploads[upload])
        return job

    def add_job(self, job: PendingJob) -> None:
        """Store a job without forwarding it to the emulator."""
        self._jobs[job.resource["jobReference"]["jobId"]] = job

    def _forward(self, call: Call) -> Answer:
        connection = HTTPConnection(self._to, timeout=60)
        connection.request(call.method, call.target, call.body, call.headers)
        response = connection.getresponse()
        forwarded = {"content-type", "location", "range", "etag"}
        headers = {k: v for k, v in response.getheaders() if k.lower() in forwarded}
        answer = Answer(response.status, response.read(), headers)
        connection.close()
        if call.name == "start upload" and answer.status == 200:
            query = parse_qs(urlsplit(response.headers["location"]).query)
            self._uploads[query["upload_id"][0]] = call.body
        if call.name in ("send upload", "upload") and answer.status == 200:
            job = answer.json
            if "errorResult" not in job["status"]:
                self.loads.append(job["jobReference"]["jobId"])
        return answer


class Transport(HTTPAdapter):
    """Session that requires a timeout for each request and does not wait for hung ones."""

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        timeout = kwargs.get("timeout")
        assert timeout, f"{request.method} {request.url} would wait for ever"
        response = super().send(request, *args, **kwargs)
        if HUNG in response.headers:
            response.close()
            raise requests.ReadTimeout(f"Read timed out. (read timeout={timeout})")
        return response


@contextmanager
def fault_proxy(to: str) -> Iterator[FaultProxy]:
    """A proxy before the emulator at `to`, on a free port."""

    class Handler(BaseHTTPRequestHandler):
        # HTTP/1.0, a connection for each call, so that none outlives the proxy

        def handle_one_request(self) -> None:
            with suppress(OSError):  # ignore clients that disconnect
                super().handle_one_request()

        def do_GET(self) -> None:
            split = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {k: v for k, v in self.headers.items() if k.lower() != "connection"}
            call = Call(
                self.command,
                unquote(split.path),
                parse_qs(split.query),
                self.path,
                headers,
                body,
            )
            proxy.take(Exchange(proxy, self, call))

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the parent's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = False  # waited for at the end

        def shutdown_request(self, request: Any) -> None:
            self.close_request(request)  # at once, so that a reset is one

    with Server(("127.0.0.1", 0), Handler) as server:
        proxy = FaultProxy(to, f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.over.set()
            server.shutdown()
            thread.join()


def error(code: int, reason: str, message: str) -> Answer:
    """An error as the API answers it."""
    problem = {"reason": reason, "message": message, "domain": "global"}
    return as_json({"error": {"code": code, "message": message, "errors": [problem]}}, code)


def as_json(body: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/json"})


def _job_id(call: Call) -> str:
    """The job that a call is about, "" for one about none."""
    if call.name == "get job":
        return call.last
    if call.name == "cancel job":
        return call.path.split("/")[-2]
    if call.name in ("start upload", "upload"):
        return str(call.job.get("jobReference", {}).get("jobId", ""))
    return ""
