"""Work beside the requests: the webhooks' outbox, with retries, and the download counts."""

import http.client
import json
import logging
import threading
import time
from urllib.parse import urlsplit

from hub_trainer.local_hub.core import Core
from hub_trainer.local_hub.store import row

log = logging.getLogger(__name__)

MAX_TRIES = 8
FIRST_RETRY_SECONDS = 1.0
TIMEOUT_SECONDS = 10
POLL_SECONDS = 0.2


class Deliverer:
    """Sends what is due until it is stopped; what is left is sent after the next start."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="local-hub-webhooks", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the delivery in progress and end."""
        self._stopping.set()
        self._thread.join(timeout=TIMEOUT_SECONDS + 5)

    def _run(self) -> None:
        while not self._stopping.is_set():
            if not self._deliver_one():
                self._core.flush_downloads()
                self._stopping.wait(POLL_SECONDS)

    def _deliver_one(self) -> bool:
        """Send the oldest due delivery; False if none is due."""
        found = row(
            self._core.store,
            "SELECT delivery.*, webhook.url, webhook.secret FROM delivery"
            " JOIN webhook ON webhook.id = delivery.webhook_id"
            " WHERE next_try <= ? AND NOT webhook.disabled ORDER BY seq LIMIT 1",
            time.time(),
        )
        if found is None:
            return False
        if self._send(found["url"], found["secret"], found["body"]):
            self._forget(found["seq"])
        else:
            self._put_off(found["seq"], found["tries"] + 1)
        return True

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
    try:
        data = json.dumps(json.loads(body)).encode()
        connection.request(
            "POST", f"{target}?{parts.query}" if parts.query else target, data, headers
        )
        return connection.getresponse().status
    finally:
        connection.close()
