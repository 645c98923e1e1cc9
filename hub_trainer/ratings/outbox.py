"""Sends kept ratings to the Hub, each exactly once, through lost answers, restarts and outages."""

import logging
import random
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime

from hub_trainer.errors import HubError, HubTrainerError
from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.ratings.rating_store import RatingStore, Shard
from hub_trainer.ratings.shards import (
    pack_shard,
    parse_shard_path,
    shard_folder,
    shard_path,
)

log = logging.getLogger(__name__)
MAX_SHARD_ROWS = 500
MAX_SHARD_BYTES = 50_000_000
FLUSH_SECONDS = 30.0
"""Pause between two commits of ratings, where nobody says otherwise."""
MAX_PAUSE_SECONDS = 300.0
HOUR_SECONDS = 3600.0
GATHER_SECONDS, SLOW_GATHER_SECONDS = 0.5, 60.0
FAST_COMMITS = 60
"""Commits within an hour after which ratings are gathered for longer: the Hub takes about 128."""


@dataclass(frozen=True)
class Destination:
    """Where ratings go, and as what."""

    repo_id: str
    """The ratings dataset."""
    space: str
    """Repo id of the Space that they come from."""
    task: str
    modality: str


@dataclass(frozen=True)
class OutboxStatus:
    """How far the Hub is behind."""

    kept: int
    waiting: int
    last_flush: str | None
    """When the Hub last had everything, ISO 8601, UTC."""
    last_error: str | None
    """Why the last attempt failed, None once it went through."""


class Outbox:
    """A thread that packs waiting ratings into shards and commits them.

    The bounds of a shard are on the disk before it is sent, so that after a crash the same bytes
    go to the same path; what the Hub already has is found by its path. Raises UsageError for a
    store that another dataset or task has used.
    """

    def __init__(
        self,
        store: RatingStore,
        hub: Hub,
        destination: Destination,
        *,
        flush_seconds: float = FLUSH_SECONDS,
        flush_rows: int = 200,
    ) -> None:
        store.assert_for(f"{destination.task} in {destination.repo_id}")
        self.store, self._hub, self._destination = store, hub, destination
        self._repo = Repo(destination.repo_id, "dataset")
        self._flush_seconds, self._flush_rows = flush_seconds, flush_rows
        self._settled = False
        self._failures = 0
        self._new_rows = 0
        self._last_flush: str | None = None
        self._last_error: str | None = None
        self._asking = threading.Lock()
        self._asked: list[Future[None]] = []
        self._commits: deque[float] = deque(maxlen=FAST_COMMITS)
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._flushing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="ratings-outbox", daemon=True)

    def start(self) -> None:
        """Begin sending in the background."""
        self._thread.start()

    def stop(self, limit_seconds: float = 5.0) -> bool:
        """Send what waits and stop; False when that took longer, and the rest waits on disk."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(limit_seconds)
        return not self._thread.is_alive()

    def notify(self) -> None:
        """Tell that a rating was kept: enough of them are sent before their time."""
        self._new_rows += 1
        if self._new_rows >= self._flush_rows and not self._failures:
            self._wake.set()

    def stored(self) -> "Future[None]":
        """Done once the Hub has all that is kept now; fails with what the attempt fails with."""
        future: Future[None] = Future()
        with self._asking:
            self._asked.append(future)
        self._wake.set()
        return future

    def flush(self) -> int:
        """Send everything that waits; returns the number of ratings sent. Raises HubError."""
        with self._flushing:
            self._new_rows = 0
            sent = 0
            if not self._settled:
                self._settle()
            while shard := self.store.next_shard(
                max_rows=MAX_SHARD_ROWS, max_bytes=MAX_SHARD_BYTES
            ):
                sent += self._send(shard)
            self._last_flush = datetime.now(UTC).isoformat(timespec="seconds")
            return sent

    def status(self) -> OutboxStatus:
        """For /health and for the page."""
        counts = self.store.counts()
        return OutboxStatus(counts.kept, counts.waiting, self._last_flush, self._last_error)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._attempt()
            self._wake.wait(self._pause_seconds())
            self._stopping.wait(self._gather_seconds())
            self._wake.clear()
        self._attempt()

    def _attempt(self) -> None:
        started = time.monotonic()
        with self._asking:
            asked, self._asked = self._asked, []
        try:
            sent = self.flush()
        except Exception as error:  # the thread outlives any failure: it is shown, and tried again
            # What the Hub took before it failed is looked up before anything is sent again.
            self._settled = False
            self._failures += 1
            known = isinstance(error, HubTrainerError)
            self._last_error = str(error).splitlines()[0] if known else repr(error)
            log.warning("ratings are waiting: %s", self._last_error)
            for future in asked:
                _settle_future(future, HubError(self._last_error, do="Wait: they are sent again."))
            return
        for future in asked:
            _settle_future(future, None)
        self._failures, self._last_error = 0, None
        if sent:
            self._commits.append(started)
            log.info("sent %d ratings in %.1f s", sent, time.monotonic() - started)

    def _pause_seconds(self) -> float:
        if not self._failures:
            return self._flush_seconds
        pause = min(self._flush_seconds * 2.0 ** min(self._failures, 10), MAX_PAUSE_SECONDS)
        return pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret

    def _gather_seconds(self) -> float:
        """How long ratings that somebody waits for are gathered, so that commits stay few."""
        with self._asking:
            if not self._asked:
                return 0.0
        recent = [at for at in self._commits if at > time.monotonic() - HOUR_SECONDS]
        return GATHER_SECONDS if len(recent) < FAST_COMMITS else SLOW_GATHER_SECONDS

    def _settle(self) -> None:
        """Compare the store with the dataset: resend what is missing there, skip what is there."""
        commit_sha = self._hub.resolve(self._repo)
        folder = shard_folder(self._destination.space, self.store.epoch)
        files = self._hub.list_files(self._repo, commit_sha)
        names = [parse_shard_path(f.path) for f in files if f.path.startswith(f"{folder}/")]
        self.store.settle([Shard(name.first, name.last) for name in names if name], commit_sha)
        self._settled = True

    def _send(self, shard: Shard) -> int:
        where = self._destination
        rated = self.store.rated(shard)
        content = pack_shard(
            rated, modality=where.modality, task=where.task, epoch=self.store.epoch
        )
        path = shard_path(where.space, self.store.epoch, shard.first, shard.last, content)
        made = self._hub.commit(
            self._repo,
            Changes({path: content}),
            message=f"Add {len(rated)} ratings from {where.space}",
            run_id=path.rsplit("/", 1)[-1].removesuffix(".parquet"),
        )
        self.store.mark_sent(shard, made.commit_sha)
        return len(rated)


def _settle_future(future: "Future[None]", error: HubError | None) -> None:
    """Tell who waits, unless they have given up."""
    if not future.set_running_or_notify_cancel():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
