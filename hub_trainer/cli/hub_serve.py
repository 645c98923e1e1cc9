"""`hub-trainer hub serve`: the Local Hub in the foreground."""

import json
import shlex
from pathlib import Path
from typing import Any

from hub_trainer.cli.output import print_json, say
from hub_trainer.errors import UsageError
from hub_trainer.local_hub import TOKEN_FILE, LocalHub, serve


def serve_hub(
    host: str, port: int, data: Path, accounts: Path | None, *, allow_jobs: bool = False
) -> None:
    """Serve until interrupted; the JSON line comes as soon as it answers."""
    users = _users_of(accounts) if accounts else []

    def announce(hub: LocalHub) -> None:
        _announce(hub)
        if silent := hub.without_token(users):
            have = "has no token and cannot" if len(silent) == 1 else "have no token and cannot"
            say(f'{", ".join(silent)} {have} sign in: write "token" beside the name in {accounts}.')

    try:
        serve(data, host, port, accounts, on_ready=announce, allow_jobs=allow_jobs)
    except (RuntimeError, ValueError) as error:
        do = "Correct that, or choose another --data, --host or --port."
        raise UsageError(str(error), do=do) from None


def _users_of(file: Path) -> list[str]:
    """Names of the users in an accounts file; raises UsageError for one that cannot be used."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        do = 'Check the path; it holds, for example, {"users": [{"name": "ann"}], "orgs": []}.'
        raise UsageError("There is no such accounts file.", where=str(file), do=do) from None
    except ValueError as error:
        raise UsageError(
            "The accounts file is not valid JSON.",
            where=str(file),
            got=str(error),
            do="Correct it at the line named.",
        ) from None
    for kind in ("users", "orgs"):
        entries = content.get(kind, []) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(_has_name(entry) for entry in entries):
            raise UsageError(
                f"The accounts file has no list of {kind} with a name each.",
                where=str(file),
                do='Write {"users": [{"name": "ada", "token": "hf_..."}], "orgs": []}.',
            )

    return [entry["name"] for entry in content.get("users", [])]


def _has_name(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("name"), str)


def _announce(hub: LocalHub) -> None:
    print_json({"url": hub.url, "user": hub.user, "token": hub.token})
    say(f"The Local Hub answers at {hub.url}. To use it from a shell:")
    token = f"$(cat {shlex.quote(str((hub.data_dir / TOKEN_FILE).resolve()))})"
    for name, value in {**hub.environment(), "HF_TOKEN": token}.items():
        say(f"  export {name}={value}")
