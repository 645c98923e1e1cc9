"""A round as a Job of the Hub: what it costs, what is sent, and how it ends."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path

from hub_trainer.away.parcel import EXIT_MARK, Parcel, round_digest, send_parcel
from hub_trainer.away.time_limit import time_limit
from hub_trainer.errors import ExitCode, HubError, Interrupted, TrainingError, UsageError
from hub_trainer.hub import PUBLIC_ENDPOINT, Hub
from hub_trainer.hub_jobs import Flavor, HubJob, HubJobs, JobOrder
from hub_trainer.loop import start_round
from hub_trainer.recipe import RecipeFile

IMAGE = "python:3.12"
"""torch's wheels bring CUDA along, so a plain image does."""
LABEL = "hub-trainer-round"
POLL_SECONDS = 2.0
Tell = Callable[[str], None]

SCRIPT = """\
set -eu
repo=$1; commit=$2; program=$3; shift 3
python -c "$HUB_TRAINER_IS_NO_NEWS" && exit 0
python -c "$HUB_TRAINER_IS_THERE" "$HUB_TRAINER_CLIENT" \\
  || python -m pip install --quiet "$HUB_TRAINER_CLIENT"
python -c "import sys; from huggingface_hub import snapshot_download; snapshot_download(\
sys.argv[1], repo_type='dataset', revision=sys.argv[2], local_dir='parcel', \
allow_patterns=['code/*', 'round/*'])" "$repo" "$commit"
python -c "$HUB_TRAINER_IS_THERE" $(cat parcel/code/requirements.txt) \\
  || python -m pip install --quiet -r parcel/code/requirements.txt
cd parcel/round
export PYTHONPATH="$PWD/../code"
exec python -m "hub_trainer.away.$program" "$repo" "$@"
"""
IS_NO_NEWS = """\
import json, os
event = json.loads(os.environ.get("WEBHOOK_PAYLOAD") or "{}").get("event") or {}
raise SystemExit(event.get("scope") != "discussion.comment")
"""
"""Ends with 0 for an event that changes nothing; known before anything is installed."""


IS_THERE = """\
import sys
from importlib.metadata import PackageNotFoundError, version
def has(one):
    name, _, wanted = one.partition("==")
    try:
        return version(name.partition("[")[0]).partition("+")[0] == wanted
    except PackageNotFoundError:
        return False
raise SystemExit(not all(map(has, sys.argv[1:])))
"""
"""Ends with 0 where the packages are there at these versions, so that pip is not asked."""


@dataclass(frozen=True)
class Sending:
    """What somebody asks for beside the round itself."""

    flavor: str
    time: str | None = None
    secrets: tuple[str, ...] = ()
    """Names of variables of this environment."""
    accelerate_config: Path | None = None


def start_or_find(
    recipe_file: RecipeFile, overrides: Sequence[str], sending: Sending, hub: Hub, *, tell: Tell
) -> tuple[HubJobs, HubJob | None]:
    """The job that runs this round already, or a new one. The price is told before it starts.

    None where nothing is new since the last round, as nobody should pay for finding that out.

    Raises UsageError for a flavor that the Hub does not have and a secret that is not set,
    HubError without a token and where the Hub offers no jobs.
    """
    assert_token(hub)
    secrets = secrets_by_name(sending.secrets, hub)
    jobs = HubJobs(hub, str(hub.user()["name"]))
    flavor = find_flavor(jobs.flavors(), sending.flavor)
    digest = round_digest(recipe_file, overrides, sending.accelerate_config)
    running = jobs.find({LABEL: digest})
    if running is not None:
        tell(f"This round runs already, so no other job is started: {running.url}")
        return jobs, running
    start = start_round(recipe_file, hub)
    if start.pins is None:
        tell(start.reason)
        return jobs, None
    seconds = time_limit(
        sending.time, recipe_file, hub, accelerate_config=sending.accelerate_config
    )
    tell(price_told(flavor, seconds))
    parcel = send_parcel(hub, jobs.namespace, recipe_file, overrides, sending.accelerate_config)
    arguments = parcel.arguments
    order = order_of(parcel, "inside", arguments, hub, flavor=flavor.name, seconds=seconds)
    job = jobs.start(replace(order, labels={LABEL: digest}, secrets=secrets))
    tell(f"The job: {job.url}")
    return jobs, job


def assert_token(hub: Hub) -> None:
    """Raise HubError where nobody is logged in."""
    if not hub.has_token:
        raise HubError(
            "There is no token, and a job runs in somebody's name.",
            where=hub.url,
            do="Set HF_TOKEN to a token with the role write, or log in with hf auth login.",
        )


def order_of(
    parcel: Parcel,
    program: str,
    arguments: Sequence[str],
    hub: Hub,
    *,
    flavor: str,
    seconds: int,
) -> JobOrder:
    """The job that fetches the parcel and runs a module of this package with it."""
    environment = {
        "HUB_TRAINER_CLIENT": f"huggingface-hub=={version('huggingface-hub')}",
        "HUB_TRAINER_IS_NO_NEWS": IS_NO_NEWS,
        "HUB_TRAINER_IS_THERE": IS_THERE,
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
    }
    if hub.url != PUBLIC_ENDPOINT:
        environment |= {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1"}
    given = [parcel.repo.repo_id, parcel.commit_sha, program, *arguments]
    return JobOrder(
        image=IMAGE,
        command=["bash", "-c", SCRIPT, "round", *given],
        flavor=flavor,
        seconds=seconds,
        labels={},
        environment=environment,
    )


def price_told(flavor: Flavor, seconds: int) -> str:
    """What a job may cost, before it costs anything."""
    hours = seconds / 3600
    told = f"{flavor.name} ({flavor.told}) for {hours:.4g} h at most: "
    if flavor.usd_per_hour is None:
        return f"{told}the Hub does not say what it costs."
    if flavor.usd_per_hour == 0:
        return f"{told}costs nothing."
    most = flavor.usd_per_hour * hours
    return f"{told}${flavor.usd_per_hour:.2f} an hour, so ${most:.2f} at most."


def follow(jobs: HubJobs, job: HubJob, *, tell: Tell) -> int:
    """Tell what the job says until it ends; the exit code of the round.

    Raises Interrupted where the job was canceled, TrainingError where it ended before the round.
    """
    code = None
    for line in jobs.logs(job.id):
        if line.startswith(EXIT_MARK):
            code = int(line.removeprefix(EXIT_MARK))
        else:
            tell(line)
    while not (ended := jobs.inspect(job.id)).has_ended:
        time.sleep(POLL_SECONDS)
    if code is not None:
        return code
    if ended.stage == "COMPLETED":
        return ExitCode.DONE
    again = "Run the same command again: it resumes from what was kept."
    if ended.stage == "CANCELED":
        raise Interrupted("The job was canceled.", where=job.url, do=again)
    raise TrainingError(
        "The job ended before its round did.",
        where=job.url,
        got=f"{ended.stage}: {ended.message}",
        do=f"{again} Where its time was up, give it more with --time.",
    )


def find_flavor(found: Sequence[Flavor], wanted: str) -> Flavor:
    """The hardware of that name. Raises UsageError where the Hub has none."""
    known = {one.name: one for one in found}
    if wanted in known:
        return known[wanted]
    near = get_close_matches(wanted, known, n=1)
    raise UsageError(
        "The Hub has no such hardware for jobs.",
        got=wanted,
        do=(f"Did you mean {near[0]}? " if near else "") + f"It has {', '.join(known)}.",
    )


def secrets_by_name(names: Sequence[str], hub: Hub) -> dict[str, str]:
    """Secrets by name, with the token among them; they travel in no other way."""
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise UsageError(
            "A secret is taken from the variable of its name, which is not set here.",
            got=", ".join(missing),
            do="Set it, then run the same command again.",
        )
    token = hub.token_for_child()
    assert token is not None
    return {**{name: os.environ[name] for name in names}, "HF_TOKEN": token}
