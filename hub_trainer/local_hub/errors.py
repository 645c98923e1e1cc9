"""The errors that go over the wire: status, text and the code that clients key on."""

from typing import Any


class WireError(Exception):
    """An answer other than success; `code` is the Hub's `X-Error-Code`, `extra` joins the JSON."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        headers: dict[str, str] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = headers or {}
        self.extra = extra or {}


def bad_credentials() -> WireError:
    """A token was sent and nobody has it. Clients recognise this exact text."""
    return WireError(401, "Invalid credentials in Authorization header")


def sign_in_needed() -> WireError:
    """No token was sent where one is needed."""
    return WireError(401, "Invalid username or password.")


def repo_not_found(*, anonymous: bool) -> WireError:
    """Missing and hidden repos look the same: nobody learns that a private name exists."""
    if anonymous:
        return WireError(401, "Invalid username or password.", code="RepoNotFound")
    return WireError(404, "Repository not found", code="RepoNotFound")


def revision_not_found(revision: str) -> WireError:
    """No branch, tag, ref or commit of that name."""
    return WireError(404, f"Invalid rev id: {revision}", code="RevisionNotFound")


def entry_not_found(path: str, *, commit_sha: str | None = None) -> WireError:
    """No such file or folder; with `commit_sha` clients can cache that it is not there."""
    headers = {"X-Repo-Commit": commit_sha} if commit_sha else {}
    return WireError(404, f"{path} does not exist", code="EntryNotFound", headers=headers)


def not_found(message: str) -> WireError:
    """Anything else that is missing."""
    return WireError(404, message)


def forbidden(message: str) -> WireError:
    """The actor is known and may not do this."""
    return WireError(403, message)


def bad_request(message: str) -> WireError:
    """The request cannot be understood or does not make sense."""
    return WireError(400, message)


def conflict(message: str, **extra: Any) -> WireError:
    """It exists already, or the state forbids it."""
    return WireError(409, message, extra=extra)


def stale_parent() -> WireError:
    """The branch moved. Clients show this text as it is."""
    return WireError(
        412,
        "The branch was updated since you opened this page. Please refresh and try again.",
    )


def too_large(message: str) -> WireError:
    """More bytes than this server takes in one piece."""
    return WireError(413, message)


def unprocessable(message: str) -> WireError:
    """Well formed, but a path, name or hash is not acceptable."""
    return WireError(422, message)
