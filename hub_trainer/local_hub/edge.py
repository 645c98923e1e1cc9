"""The outermost ring: every request passes here first, every answer last."""

import ipaddress
import uuid
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub_trainer.local_hub.errors import WireError, bad_request, forbidden
from hub_trainer.local_hub.patience import PatientReceive
from hub_trainer.local_hub.wire import error_reply

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class Edge:
    """Routes on the raw path, checks Host and Origin, names each request, sets safe headers, and
    gives up on clients that do not send."""

    def __init__(self, app: ASGIApp, allowed_hosts: tuple[str, ...]) -> None:
        self._app = app
        self._allowed_hosts = {host.lower() for host in allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = (
            headers.get("x-request-id") or headers.get("x-amzn-trace-id") or uuid.uuid4().hex
        )

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer["X-Request-Id"] = request_id
                answer.setdefault("X-Content-Type-Options", "nosniff")
                answer.setdefault("Referrer-Policy", "same-origin")
                answer.setdefault("Cache-Control", "no-cache")
            await send(message)

        refused = self._refusal(scope["method"], headers)
        if refused is not None:
            await error_reply(refused)(scope, receive, send_with_headers)
            return
        # Starlette would route on the decoded path, in which `refs%2Fpr%2F1` is three segments.
        scope["path"] = scope["raw_path"].decode("latin-1")
        await self._app(scope, PatientReceive(receive), send_with_headers)

    def _refusal(self, method: str, headers: Headers) -> WireError | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            return bad_request(
                f"This Local Hub does not answer to the name {host!r}. Use its own address."
            )
        origin = headers.get("origin")
        if method not in _SAFE_METHODS and origin is not None and urlsplit(origin).netloc != host:
            return forbidden("A page from another site may not change anything here.")
        return None

    def _is_ours(self, host: str) -> bool:
        """A DNS name that somebody points at this machine is not ours; an IP address cannot lie."""
        name = urlsplit(f"//{host}").hostname or ""
        if name in self._allowed_hosts or name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True
