"""A proxy in front of a Hub that fails chosen calls, before or after they take effect."""

import http.client
import socket
import struct
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import urlsplit

FAULTS = ("500 before", "500 after", "lost before", "lost after")
EVERY_FAULT = (
    *FAULTS,
    *("504 before", "504 after", "reset before", "reset after"),
    *("429 before", "429 after", "409 before", "412 before"),
)
"""Further ones: a gateway's time-out, a connection that is reset, a Hub that asks to slow down, and
answers as if somebody else had written; `before` or `after` the call took effect."""
RETRY_AFTER = [("Retry-After", "1"), ("RateLimit", '"api";r=0;t=1')]
DROPPED_HEADERS = {"connection", "transfer-encoding", "content-length", "keep-alive"}

Rule = Callable[[int, str, str], str | None]
"""(index of the call since the proxy was armed, method, path) -> a fault, or None."""


class FaultyHub:
    """`with FaultyHub(hub.url) as faulty`; `arm` it with a rule, `disarm` it to be healthy."""

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        self._lock = threading.Lock()
        self.disarm()

    def arm(self, rule: Rule) -> None:
        """Count calls from here on, and fail those that the rule names."""
        with self._lock:
            self._rule: Rule = rule
            self.calls: list[str] = []
            self.faults: list[str] = []

    def disarm(self) -> None:
        """Let everything through."""
        self.arm(lambda index, method, path: None)

    def __enter__(self) -> "FaultyHub":
        faulty = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                faulty.forward(self)

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
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
        """Pass a call on, or fail it."""
        body = request.rfile.read(int(request.headers.get("content-length") or 0))
        with self._lock:
            fault = self._rule(len(self.calls), request.command, request.path)
            self.calls.append(f"{request.command} {request.path}")
            self.faults += [fault] if fault else []
        if fault and fault.endswith("before"):
            self._fail(request, fault)
            return
        status, headers, content = self._send_on(request, body)
        if fault:
            self._fail(request, fault)
            return
        _reply(request, status, headers, content)

    def _send_on(
        self, request: BaseHTTPRequestHandler, body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(
            self._target.hostname or "", self._target.port, timeout=30
        )
        headers = {k: v for k, v in request.headers.items() if k.lower() not in DROPPED_HEADERS}
        connection.request(request.command, request.path, body or None, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.getheaders(), content

    def _fail(self, request: BaseHTTPRequestHandler, fault: str) -> None:
        if fault.startswith("lost"):
            request.close_connection = True
            request.connection.close()
        elif fault.startswith("reset"):
            request.close_connection = True
            now = struct.pack("ii", 1, 0)
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
            request.connection.close()
        else:
            status = int(fault.split()[0])
            headers = RETRY_AFTER if status == 429 else []
            _reply(request, status, headers, b'{"error":"injected"}')


def _reply(
    request: BaseHTTPRequestHandler, status: int, headers: list[tuple[str, str]], content: bytes
) -> None:
    request.send_response(status)
    lengths = [value for name, value in headers if name.lower() == "content-length"]
    for name, value in headers:
        if name.lower() not in DROPPED_HEADERS:
            request.send_header(name, value)
    length = (lengths or ["0"])[0] if request.command == "HEAD" else str(len(content))
    request.send_header("content-length", length)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(content)
