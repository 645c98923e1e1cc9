"""`hub-trainer hub serve`: the Local Hub in the foreground."""

from pathlib import Path

from hub_trainer.cli.output import print_json, say
from hub_trainer.errors import UsageError
from hub_trainer.local_hub import LocalHub, serve


def serve_hub(host: str, port: int, data: Path, accounts: Path | None) -> None:
    """Serve until interrupted; the JSON line comes as soon as it answers."""
    if accounts and not accounts.exists():
        raise UsageError("There is no such accounts file.", where=str(accounts))
    try:
        serve(data, host, port, accounts, on_ready=_announce)
    except (RuntimeError, ValueError) as error:
        raise UsageError(str(error)) from None


def _announce(hub: LocalHub) -> None:
    print_json({"url": hub.url, "user": hub.user, "token": hub.token})
    say(f"The Local Hub answers at {hub.url}. To use it from a shell:")
    for name, value in hub.environment().items():
        shown = "(the token in the line above)" if name == "HF_TOKEN" else value
        say(f"  export {name}={shown}")
