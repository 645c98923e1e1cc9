"""Work beside the requests: the webhooks' outbox, with retries, and the download counts."""

import http.client
import json
import logging
import socket
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import urlsplit

from hub_trainer.local_hub.core import Core
from hub_trainer.local_hub.store import rows
from hub_trainer.local_hub.webhook_jobs import start_job

log = logging.getLogger(__name__)

MAX_TRIES = 8
FIRST_RETRY_SECONDS = 1.0
TIMEOUT_SECONDS = 10.0
"""For the whole of a delivery, however the receiver spreads its answer."""
MAX_AT_ONCE = 8
POLL_SECONDS = 0.2


class Deliverer:
    """Sends what is due until it is stopped; what is left is sent after the next start.

    Each webhook hears one thing at a time, the oldest that is due first. Several webhooks are told
    at once, so that one whose receiver is slow keeps nobody else waiting.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._stopping = False
        self._wake = threading.Event()
        self._guard = threading.Lock()
        self._busy: set[str] = set()
        self._pool = ThreadPoolExecutor(MAX_AT_ONCE, thread_name_prefix="local-hub-webhook")
        self._thread = threading.Thread(target=self._run, name="local-hub-webhooks", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the deliveries in progress and end."""
        self._stopping = True
        self._wake.set()
        self._thread.join()
        self._pool.shutdown(cancel_futures=True)

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            for delivery in self._due():
                self._pool.submit(self._deliver, delivery)
            self._core.flush_downloads()
            self._wake.wait(POLL_SECONDS)

    def _due(self) -> list[sqlite3.Row]:
        """The oldest due delivery of each webhook that is not being told something already."""
        found = rows(
            self._core.store,
            "SELECT min(seq) AS seq, webhook_id, body, tries, url, secret, user_id FROM delivery"
            " JOIN webhook ON webhook.id = delivery.webhook_id"
            " WHERE next_try <= ? AND NOT webhook.disabled GROUP BY webhook_id ORDER BY seq",
            time.time(),
        )
        with self._guard:
            free = [each for each in found if each["webhook_id"] not in self._busy]
            due = free[: MAX_AT_ONCE - len(self._busy)]
            self._busy |= {each["webhook_id"] for each in due}
        return due

    def _deliver(self, found: sqlite3.Row) -> None:
        try:
            if not found["url"]:
                is_done = start_job(self._core, found)
            else:
                is_done = self._send(found["url"], found["secret"], found["body"])
            if is_done:
                self._forget(found["seq"])
            else:
                self._put_off(found["seq"], found["tries"] + 1)
        finally:
            with self._guard:
                self._busy.discard(found["webhook_id"])
            self._wake.set()

    def _send(self, url: str, secret: str, body: str) -> bool:
        try:
            status = post(url, body, secret)
        except (OSError, ValueError, http.client.HTTPException) as error:
            log.info("webhook to %s failed: %s", urlsplit(url).netloc, type(error).__name__)
            return False
        return 200 <= status < 300

    def _forget(self, seq: int) -> None:
        with self._core.store.write() as db:
            db.execute("DELETE FROM delivery WHERE seq = ?", (seq,))

    def _put_off(self, seq: int, tries: int) -> None:
        if tries >= MAX_TRIES:
            log.warning("webhook delivery %d given up after %d tries", seq, tries)
            self._forget(seq)
            return
        due = time.time() + FIRST_RETRY_SECONDS * 2 ** (tries - 1)
        with self._core.store.write() as db:
            db.execute(
                "UPDATE delivery SET tries = ?, next_try = ? WHERE seq = ?", (tries, due, seq)
            )


def post(url: str, body: str, secret: str) -> int:
    """Send one JSON body; gives back the status. Redirects are not followed."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
    headers = {"Content-Type": "application/json", "User-Agent": "hub-trainer-local-hub"}
    if secret:
        headers["X-Webhook-Secret"] = secret
    target = parts.path or "/"
    watch = threading.Timer(TIMEOUT_SECONDS, _cut, [connection])
    watch.daemon = True
    watch.start()
    try:
        data = json.dumps(json.loads(body)).encode()
        connection.request(
            "POST", f"{target}?{parts.query}" if parts.query else target, data, headers
        )
        return connection.getresponse().status
    finally:
        watch.cancel()
        connection.close()


def _cut(connection: http.client.HTTPConnection) -> None:
    """End a connection on which another thread waits."""
    if connection.sock is not None:
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)
