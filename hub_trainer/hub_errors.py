"""Errors of the Hub's client in words: what was asked for, what came back, what to do."""

from hub_trainer.errors import HubError

OWN_ACCOUNT = "the account of this token"
UNKNOWN_TOKEN = "Invalid credentials"  # noqa: S105 - what the Hub says of one


def explained(error: BaseException, subject: str, url: str) -> HubError:
    """The error of a client that asked `url` for `subject`."""
    status = status_of(error)
    message = getattr(error, "server_message", None) or str(error) or type(error).__name__
    got = str(message).strip().splitlines()[0][:300]
    if status == 401 and (subject == OWN_ACCOUNT or got.startswith(UNKNOWN_TOKEN)):
        do = "Set HF_TOKEN to a token of yours on this Hub, or log in with hf auth login."
        return HubError("The Hub does not know the token.", where=url, got=got, do=do)
    if status == 401:
        do = "Check the name; for a private repo set HF_TOKEN to a token that may read it."
        return HubError(f"The Hub does not show {subject} to this token.", got=got, do=do)
    if status == 403:
        do = "Use a token with write permission, or ask for access on the repo's page."
        return HubError(f"The Hub does not allow {subject}.", got=got, do=do)
    if status == 404:
        do = f"Check the name and the revision on {url}, and that HF_TOKEN may read it."
        # "model a/b at main", or what belongs to one: "the tags of model a/b"
        what = f"does not find {subject}" if subject.startswith("the ") else f"has no {subject}"
        return HubError(f"The Hub {what}.", got=got, do=do)
    if status == 412:
        do = "Run the command again: it starts from the new tip."
        return HubError(f"Somebody else has written before {subject}.", got=got, do=do)
    if status == 429:
        return HubError(f"The Hub asks to slow down at {subject}.", got=got, do="Wait and rerun.")
    if status is not None:
        do = "Correct what the Hub names."
        if status >= 500:
            do = "Run the same command again in a while: the Hub itself failed."
        return HubError(f"The Hub refused {subject}.", got=f"{status}: {got}", do=do)
    do = "Check the address and that it runs, then run the same command again."
    return HubError(f"The Hub at {url} does not answer for {subject}.", got=got, do=do)


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error carries, or its cause."""
    response = getattr(error, "response", None)
    if response is not None:
        return int(response.status_code)
    return status_of(error.__cause__) if error.__cause__ else None
