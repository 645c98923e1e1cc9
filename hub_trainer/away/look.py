"""A look, inside a job: propose what raters agree on, review, serve, and start a round if due."""

import hashlib
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hub_trainer.away.automation import secrets_here
from hub_trainer.away.job import LABEL, order_of
from hub_trainer.away.orders import ORDERS, Orders, look_labels
from hub_trainer.checks.verdict import Verdict
from hub_trainer.errors import ExitCode, HubError, HubTrainerError, TrainingError
from hub_trainer.hub import Hub, Repo, use_endpoint
from hub_trainer.hub_jobs import AT_WORK, HubJobs
from hub_trainer.lineage import Pins, RoundRecord, pin_round
from hub_trainer.loop import (
    Start,
    curate_ratings,
    push_space,
    run_stage,
    start_round,
    verified_repo,
)
from hub_trainer.recipe import RecipeFile
from hub_trainer.reports import CollectReport, DatasetReport
from hub_trainer.space.settings import SETTINGS_FILE
from hub_trainer.stages.review import sweep

log = logging.getLogger(__name__)

PINS_LABEL = "hub-trainer-pins"
MAX_TRIES = 5
"""Jobs that may fail with the same data before a person has to look; outages count too."""
POLL_SECONDS = 2.0


def main(arguments: Sequence[str]) -> int:
    """`python -m hub_trainer.away.look REPO ORDERS`; 0, or the code of the first thing amiss."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    for name in ("hub_trainer", __name__):
        logging.getLogger(name).setLevel(logging.INFO)
    use_endpoint(None)
    _, told = arguments
    orders, hub = Orders.from_text(told), Hub()
    try:
        look = Look(orders, hub)
        if look.takes_its_turn():
            look.propose()
            look.review()
            look.serve()
            look.begin()
    except HubTrainerError as error:
        log.error("error: %s", error)
        return error.exit_code
    return look.code


def after_round(hub: Hub) -> None:
    """The end of a round's job: serve what was published, and start the next round if one is due.

    Looks that came while the round was at work have left the next one to it. What goes wrong is
    told and left to the next look.
    """
    if ORDERS not in os.environ:
        return
    try:
        look = Look(Orders.from_text(os.environ[ORDERS]), hub)
        look.serve()
        look.begin()
    except HubTrainerError as error:
        log.error("error: %s", error)


class Look:
    """One look. What fails is told, and the other parts go on; `code` is that of the first."""

    def __init__(self, orders: Orders, hub: Hub) -> None:
        self._orders, self._hub = orders, hub
        self._file: RecipeFile = orders.recipe_file()
        self._jobs = HubJobs(hub, orders.repo_id.split("/")[0])
        self._me = os.environ.get("JOB_ID", "")
        self.code: int = ExitCode.DONE

    def takes_its_turn(self) -> bool:
        """Wait for the look before this one; False where another one waits for it already.

        That other one has not begun, so it will see what this one was started for.
        """
        labels, me = look_labels(self._file.recipe), self._jobs.inspect(self._me)
        while True:
            at_work = self._jobs.with_labels(labels, AT_WORK)
            before = [j for j in at_work if (j.created_at, j.id) < (me.created_at, me.id)]
            if not before:
                return True
            if len(before) > 1:
                log.info("Another look waits already.")
                return False
            time.sleep(POLL_SECONDS)

    def propose(self) -> None:
        """What raters agree on becomes a pull request, once there is a model that they rate."""
        with self._told("curate"):
            if self._file.recipe.serve is not None and self._published() is not None:
                log.info("curate: %s", curate_ratings(self._file, self._hub)["summary"])

    def review(self) -> None:
        """Review each open pull request at each commit once, in the datasets of one's own."""
        for source in self._file.recipe.collect.datasets:
            with self._told("review"):
                if self._may_write(source.repo_id):
                    sweep(self._hub, source.repo_id, self._file.recipe, _tell_verdict, set())

    def serve(self) -> None:
        """Bring the Space to the newest published model."""
        with self._told("serve"):
            record = self._published()
            if self._file.recipe.serve is None or record is None:
                return
            if self._served() != record.commit_sha:
                log.info("serve: %s", push_space(self._file, self._hub)["url"])

    def begin(self) -> None:
        """Start a round's job, unless nothing is new, too little is, or one is at work."""
        with self._told("round"):
            running = self._jobs.with_labels({LABEL: self._orders.digest}, AT_WORK)
            if others := [job for job in running if job.id != self._me]:
                log.info("round: one is at work: %s", others[0].url)
                return
            start = start_round(self._file, self._hub)
            if start.pins is None:
                log.info("round: %s", start.reason)
                return
            if (rows := self._new_rows(start)) is not None and rows < self._orders.min_rows:
                log.info("round: %d new rows; it takes %d.", rows, self._orders.min_rows)
                return
            log.info("round: %s", start.reason)
            self._start(start.pins)

    def _start(self, pins: Pins) -> None:
        orders = self._orders
        labels = {LABEL: orders.digest, PINS_LABEL: _digest(pins)}
        failed = self._jobs.with_labels(labels, ("ERROR",))
        if len(failed) >= MAX_TRIES:
            raise TrainingError(
                f"Round {pins.round} has failed {len(failed)} times with the same data.",
                where=failed[0].url,
                got=failed[0].message,
                do="Read the log of that job. It is tried again once the data or recipe changes.",
            )
        order = order_of(
            orders.parcel,
            "inside",
            orders.arguments,
            self._hub,
            flavor=orders.flavor,
            seconds=orders.seconds,
        )
        job = self._jobs.start(
            replace(
                order,
                labels=labels,
                environment={**order.environment, ORDERS: orders.to_text()},
                secrets=secrets_here(orders.secrets, self._hub),
            )
        )
        log.info("round: its job is %s", job.url)

    def _new_rows(self, start: Start) -> int | None:
        """Training rows more than the last round had; None where any number is enough."""
        if self._orders.min_rows <= 1 or start.record is None:
            return None
        # Thrown away: a round that was begun here would keep its pins when more rows come.
        with tempfile.TemporaryDirectory(prefix="hub-trainer-look-") as scratch:
            pin_round(self._file.recipe, Path(scratch), self._hub)
            now = run_stage("collect", self._file.recipe, Path(scratch), self._hub).outputs
        collected = CollectReport.from_json(now).datasets
        return _train_rows(collected) - _train_rows(start.record.datasets)

    def _published(self) -> RoundRecord | None:
        repo = verified_repo(self._file, self._hub)
        return repo.promoted[-1] if repo is not None and repo.promoted else None

    def _served(self) -> str | None:
        """The commit of the model that the Space shows; None where there is no Space yet."""
        assert self._file.recipe.serve is not None
        space = Repo(self._file.recipe.serve.repo_id, "space")
        if not self._hub.exists(space):
            return None
        sha = self._hub.resolve(space)
        if SETTINGS_FILE not in {file.path for file in self._hub.list_files(space, sha)}:
            return None
        told = json.loads(self._hub.read_file(space, SETTINGS_FILE, sha) or b"null")
        return str(told.get("commit_sha")) if isinstance(told, dict) else None

    def _may_write(self, repo_id: str) -> bool:
        try:
            self._hub.assert_can_write(Repo(repo_id, "dataset"))
        except HubError as error:
            log.info("review: %s is not reviewed: %s", repo_id, error.what)
            return False
        return True

    @contextmanager
    def _told(self, part: str) -> Iterator[None]:
        try:
            yield
        except HubTrainerError as error:
            log.error("%s: error: %s", part, error)
            self.code = self.code or error.exit_code


def _tell_verdict(verdict: Verdict) -> None:
    log.info("review: pull request %d: %s", verdict.number, verdict.verdict)


def _digest(pins: Pins) -> str:
    told = [pins.recipe_digest, *(f"{one.repo_id}@{one.commit_sha}" for one in pins.all())]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:32]


def _train_rows(datasets: Sequence[DatasetReport]) -> int:
    return sum(one.rows for one in datasets if one.role == "train")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
