"""`hub-trainer review`: once, or on and on."""

import os

from hub_trainer.checks.comment import accept_command
from hub_trainer.checks.verdict import Verdict
from hub_trainer.checks.webhook_trigger import SECRET_VARIABLE, WebhookTrigger
from hub_trainer.cli.output import people, print_json, say
from hub_trainer.errors import UsageError
from hub_trainer.hub import Hub
from hub_trainer.recipe import Recipe
from hub_trainer.stages.review import run, watch

STYLES = {"merge": "green", "human": "yellow", "refuse": "red"}


def review_once(
    hub: Hub,
    dataset_id: str,
    *,
    number: int | None,
    recipe: Recipe | None,
    accept: str | None,
    as_json: bool,
) -> None:
    """Review one pull request or all open ones, and show what came of it."""
    reviewed = run(hub, dataset_id, number=number, recipe=recipe, accept=accept)
    if not reviewed.verdicts:
        say(f"{dataset_id} has no open pull request.")
    for verdict in reviewed.verdicts:
        show_verdict(verdict)
        command = accept_command(verdict, dataset_id)
        if command:
            say(f"  to accept it as it is: {command}")
    if as_json:
        print_json(reviewed.to_dict())


def review_on(
    hub: Hub, dataset_id: str, *, recipe: Recipe | None, webhook: str | None, as_json: bool
) -> None:
    """Review until interrupted, looking every minute or when the webhook rings."""

    def show(verdict: Verdict) -> None:
        show_verdict(verdict)
        if as_json:
            print_json(verdict.to_dict())

    if webhook is None:
        watch(hub, dataset_id, recipe=recipe, on_verdict=show)
        return
    host, _, port = webhook.rpartition(":")
    if not host or not port.isdigit():
        raise UsageError("A webhook listens on HOST:PORT.", got=webhook, do="As in 127.0.0.1:8000.")
    trigger = WebhookTrigger(dataset_id, os.environ.get(SECRET_VARIABLE, ""))
    say(f"Waiting for deliveries at {trigger.listen(host, int(port))}")
    try:
        watch(hub, dataset_id, recipe=recipe, on_verdict=show, wait=trigger.wait)
    finally:
        trigger.close()


def show_verdict(verdict: Verdict) -> None:
    """The verdict, then a line for each check that did not pass; details stand under each other."""
    from rich.table import Table
    from rich.text import Text

    failed = [check for check in verdict.checks if not check.passed]
    style = STYLES[verdict.verdict]
    head = Text.assemble((f"{verdict.verdict:<6}", style), f"  pull request {verdict.number}")
    said = [f"{verdict.rows:,} rows"] if verdict.rows else []
    said += [f"{verdict.left_out:,} left out"] if verdict.left_out else []
    said += ["converted"] if verdict.made else []
    said += [f"{len(verdict.checks) - len(failed)} of {len(verdict.checks)} checks passed"]
    head.append(f" at {verdict.sha[:7]}: {', '.join(said)}")
    people.print(head, highlight=False, soft_wrap=True)
    table = Table.grid(padding=(0, 2, 0, 0))
    for check in sorted(failed, key=lambda check: check.outcome != "refuse"):
        outcome = Text(f"  {check.outcome}", STYLES[check.outcome])
        table.add_row(
            outcome,
            Text(check.name),
            Text(check.detail + (f" ({check.numbers})" if check.rows else "")),
        )
    if failed:
        people.print(table, highlight=False)
