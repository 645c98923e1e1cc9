"""`hub-trainer review`: once, or on and on."""

import os
from typing import Any

from hub_trainer.checks.doorbell import SECRET_VARIABLE, Doorbell
from hub_trainer.cli.output import people, print_json, say
from hub_trainer.errors import UsageError
from hub_trainer.hub import Hub
from hub_trainer.recipe import Recipe
from hub_trainer.stages.review import run, watch

STYLES = {"merge": "green", "human": "yellow", "refuse": "red"}


def review_once(
    hub: Hub, dataset_id: str, *, number: int | None, recipe: Recipe | None, as_json: bool
) -> None:
    """Review one pull request or all open ones, and show what came of it."""
    reviewed = run(hub, dataset_id, number=number, recipe=recipe)
    if not reviewed["pull_requests"]:
        say(f"{dataset_id} has no open pull request.")
    for verdict in reviewed["pull_requests"]:
        show_verdict(verdict)
    if as_json:
        print_json(reviewed)


def review_on(
    hub: Hub, dataset_id: str, *, recipe: Recipe | None, webhook: str | None, as_json: bool
) -> None:
    """Review until interrupted, looking every minute or when the webhook rings."""

    def show(verdict: Any) -> None:
        show_verdict(verdict.to_dict())
        if as_json:
            print_json(verdict.to_dict())

    if webhook is None:
        watch(hub, dataset_id, recipe=recipe, on_verdict=show)
        return
    host, _, port = webhook.rpartition(":")
    if not host or not port.isdigit():
        raise UsageError("A webhook listens on HOST:PORT.", got=webhook, do="As in 127.0.0.1:8000.")
    bell = Doorbell(dataset_id, os.environ.get(SECRET_VARIABLE, ""))
    say(f"Waiting for deliveries at {bell.listen(host, int(port))}")
    try:
        watch(hub, dataset_id, recipe=recipe, on_verdict=show, wait=bell.wait)
    finally:
        bell.close()


def show_verdict(verdict: dict[str, Any]) -> None:
    """A line for the verdict and one for each check that did not pass."""
    style = STYLES[verdict["verdict"]]
    people.print(
        f"pull request {verdict['number']} at {verdict['sha'][:7]}: "
        f"[{style}]{verdict['verdict']}[/{style}]"
    )
    for check in verdict["checks"]:
        if not check["passed"]:
            say(f"  {check['name']}: {check['detail']}")
