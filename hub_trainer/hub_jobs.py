"""Jobs of the Hub, through the client of `hub.py`: hardware, start, find, follow, automate."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from hub_trainer.errors import HubError
from hub_trainer.hub import Hub, Repo
from hub_trainer.hub_errors import status_of

ENDED = ("COMPLETED", "CANCELED", "ERROR", "DELETED")
AT_WORK = ("SCHEDULING", "RUNNING")
NOT_THERE = (404, 405)
"""Of a Hub that does not know jobs, or was not told to run any."""
HOURS = {"minute": 1 / 60, "hour": 1.0, "second": 1 / 3600}


@dataclass(frozen=True)
class Flavor:
    """A kind of hardware; the price is None where the Hub does not say it in a known unit."""

    name: str
    told: str
    usd_per_hour: float | None


@dataclass(frozen=True)
class JobOrder:
    """What is to run."""

    image: str
    command: Sequence[str]
    flavor: str
    seconds: int
    """Time limit."""
    labels: Mapping[str, str]
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class HubJob:
    """A job as the Hub tells of it."""

    id: str
    url: str
    stage: str
    message: str | None
    created_at: str = ""
    """ISO 8601; jobs sort by it."""

    @property
    def has_ended(self) -> bool:
        """Whether it will run no further."""
        return self.stage in ENDED


class HubJobs:
    """The jobs of one namespace."""

    def __init__(self, hub: Hub, namespace: str) -> None:
        self._hub, self.namespace = hub, namespace

    def flavors(self) -> list[Flavor]:
        """The hardware that the Hub has. Raises HubError where it offers no jobs."""
        with self._errors("the hardware of jobs"):
            return [_flavor(one) for one in self._hub._api.list_jobs_hardware()]

    def start(self, order: JobOrder) -> HubJob:
        """Start a job."""
        with self._errors("a job"):
            made = self._hub._api.run_job(**self._spec(order))
        return _job(made)

    def _spec(self, order: JobOrder) -> dict[str, Any]:
        """What the client is told of a job, whenever it is to run."""
        return {
            "image": order.image,
            "command": list(order.command),
            "env": dict(order.environment),
            "secrets": dict(order.secrets),
            "flavor": order.flavor,
            "timeout": order.seconds,
            "labels": dict(order.labels),
            "namespace": self.namespace,
        }

    def find(self, labels: Mapping[str, str]) -> HubJob | None:
        """The newest job with these labels that waits or runs."""
        return next(iter(self.with_labels(labels, AT_WORK)), None)

    def with_labels(self, labels: Mapping[str, str], stages: Sequence[str]) -> list[HubJob]:
        """The jobs with these labels in one of the stages, the newest first."""
        with self._errors("the list of jobs"):
            found = self._hub._api.list_jobs(
                status=[*stages], labels=dict(labels), namespace=self.namespace
            )
            return [_job(one) for one in found]

    def inspect(self, job_id: str) -> HubJob:
        """How a job stands."""
        with self._errors(f"job {job_id}"):
            found = self._hub._api.inspect_job(job_id=job_id, namespace=self.namespace)
        return _job(found)

    def logs(self, job_id: str) -> Iterator[str]:
        """What a job says, as it says it, until it ends."""
        with self._errors(f"the logs of job {job_id}"):
            yield from self._hub._api.fetch_job_logs(
                job_id=job_id, namespace=self.namespace, follow=True
            )

    def start_at_events(
        self, job: HubJob, repos: Sequence[Repo], secrets: Mapping[str, str]
    ) -> None:
        """Start the same as a job again at each event in these repos."""
        watched: list[Any] = [{"type": one.repo_type, "name": one.repo_id} for one in repos]
        with self._errors("a webhook"):
            self._hub._api.create_webhook(
                job_id=job.id,
                watched=watched,
                domains=["repo", "discussion"],
                secrets=dict(secrets),
            )

    def start_by_schedule(self, order: JobOrder, schedule: str) -> None:
        """Start a job again and again, as `@daily` or in the five fields of cron."""
        with self._errors("a scheduled job"):
            self._hub._api.create_scheduled_job(schedule=schedule, **self._spec(order))

    def start_no_more(self, labels: Mapping[str, str]) -> int:
        """Remove the webhooks and schedules of jobs with these labels; how many there were."""
        wanted, removed = set(labels.items()), 0
        with self._errors("webhooks and scheduled jobs"):
            for hook in self._hub._api.list_webhooks():
                if hook.job is not None and wanted <= set((hook.job.labels or {}).items()):
                    self._hub._api.delete_webhook(hook.id)
                    removed += 1
            for one in self._hub._api.list_scheduled_jobs(
                labels=dict(labels), namespace=self.namespace
            ):
                self._hub._api.delete_scheduled_job(
                    scheduled_job_id=one.id, namespace=self.namespace
                )
                removed += 1
        return removed

    @contextmanager
    def _errors(self, subject: str) -> Iterator[None]:
        try:
            with self._hub._errors(subject):
                yield
        except HubError as error:
            cause = error.__cause__
            if cause is None or status_of(cause) not in NOT_THERE or "job " in subject:
                raise
            raise HubError(
                "This Hub offers no jobs.",
                where=self._hub.url,
                got=error.got,
                do="Start the Local Hub with --allow-jobs, or set HF_ENDPOINT to another Hub.",
            ) from None


def _flavor(found: Any) -> Flavor:
    parts = [found.pretty_name, found.cpu, found.ram]
    if found.accelerator is not None:
        one = found.accelerator
        parts.append(f"{one.quantity} x {one.model} {one.vram}")
    hours = HOURS.get(found.unit_label)
    price = None if hours is None else float(found.unit_cost_usd) / hours
    return Flavor(found.name, ", ".join(str(part) for part in parts if part), price)


def _job(found: Any) -> HubJob:
    # Stages are members of an enumeration, or plain texts where the client does not know them.
    stage = str(getattr(found.status.stage, "value", found.status.stage))
    created = found.created_at.isoformat() if found.created_at else ""
    return HubJob(found.id, found.url, stage, found.status.message, created)
