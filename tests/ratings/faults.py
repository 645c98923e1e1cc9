"""A proxy in front of a Hub whose commits fail before or after they take effect, by a seed."""

import http.client
import random
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import urlsplit

FAULTS = ("500 before", "500 after", "429 before", "lost after", "cut before")
HOP_HEADERS = {"connection", "transfer-encoding", "content-length", "host", "keep-alive"}


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed has nobody to tell."""


class FaultyHub:
    """`with FaultyHub(hub.url, share=0.2, seed=0) as faulty: Hub(faulty.url, token)`."""

    def __init__(self, target: str, *, share: float, seed: int) -> None:
        self._target = urlsplit(target)
        self._rng = random.Random(seed)
        self._lock = threading.Lock()
        self.share = share
        self.plan: list[str | None] = []
        """Faults of the next commits, before chance has its say; None lets one through."""
        self.seen: Counter[str] = Counter()

    def __enter__(self) -> "FaultyHub":
        faulty = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                faulty.forward(self)

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def forward(self, request: BaseHTTPRequestHandler) -> None:
        """Pass a request on, or fail it."""
        body = request.rfile.read(int(request.headers.get("content-length") or 0))
        fault = self._next_fault(request)
        if fault:
            with self._lock:
                self.seen[fault] += 1
        if fault and fault.endswith("before"):
            return self._fail(request, fault)
        status, headers, content = self._send_on(request, body)
        if fault:
            return self._fail(request, fault)
        self._reply(request, status, headers, content)
        return None

    def _next_fault(self, request: BaseHTTPRequestHandler) -> str | None:
        if not (request.command == "POST" and "/commit/" in request.path):
            return None
        with self._lock:
            if self.plan:
                return self.plan.pop(0)
            return self._rng.choice(FAULTS) if self._rng.random() < self.share else None

    def _send_on(
        self, request: BaseHTTPRequestHandler, body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        address = (self._target.hostname or "", self._target.port)
        connection = http.client.HTTPConnection(*address, timeout=30)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP_HEADERS}
        connection.request(request.command, request.path, body or None, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.getheaders(), content

    def _fail(self, request: BaseHTTPRequestHandler, fault: str) -> None:
        kind = fault.split()[0]
        if kind in ("lost", "cut"):
            request.close_connection = True
            request.connection.close()
            return
        self._reply(request, int(kind), [("retry-after", "0")], b'{"error":"injected"}')

    def _reply(
        self,
        request: BaseHTTPRequestHandler,
        status: int,
        headers: list[tuple[str, str]],
        content: bytes,
    ) -> None:
        request.send_response(status)
        for name, value in headers:
            if name.lower() not in HOP_HEADERS:
                request.send_header(name, value)
        if request.command != "HEAD":
            request.send_header("content-length", str(len(content)))
        else:
            lengths = [value for name, value in headers if name.lower() == "content-length"]
            request.send_header("content-length", (lengths or ["0"])[0])
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content)
