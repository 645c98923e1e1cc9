"""The one place that decides whether an actor may do an operation on a repo."""

from typing import Literal

from hub_trainer.local_hub.accounts import Actor, find_account
from hub_trainer.local_hub.errors import WireError, forbidden, repo_not_found, sign_in_needed
from hub_trainer.local_hub.repo_rows import Repo
from hub_trainer.local_hub.store import Store, row

Operation = Literal["see", "react", "read", "propose", "write", "admin"]
"""see: know that it is there. react: like it, ask for access. read: its files. propose:
discussions and pull requests.
write: commits, refs, merges. admin: settings, access, deletion."""


def authorize(store: Store, actor: Actor, repo: Repo, operation: Operation) -> None:
    """Return if the actor may, else raise what the Hub would answer."""
    if not can_see(actor, repo):
        raise repo_not_found(anonymous=actor.anonymous)
    if repo.disabled and operation != "see":
        raise forbidden("Access to this resource is disabled.")
    if operation == "read":
        _require_content(store, actor, repo)
    elif operation != "see":
        _authorize_change(store, actor, repo, operation)


def _authorize_change(store: Store, actor: Actor, repo: Repo, operation: Operation) -> None:
    if actor.anonymous:
        raise sign_in_needed()
    _require_token_scope(actor, repo)
    if operation == "propose":
        _require_content(store, actor, repo)
    elif operation == "write":
        if not is_writer(actor, repo):
            raise forbidden(f"You don't have the rights to write to {repo.type} {repo.full_name}.")
    elif operation == "admin":
        if not is_admin(actor, repo):
            raise forbidden(f"You don't have the rights to manage {repo.type} {repo.full_name}.")
    else:
        assert operation == "react", operation


def can_see(actor: Actor, repo: Repo) -> bool:
    """Public, or one's own, and for a fine-grained token in its scope."""
    if not repo.private:
        return True
    return _is_insider(actor, repo)


def can_read(store: Store, actor: Actor, repo: Repo) -> bool:
    """Whether the actor may read the repo's files."""
    try:
        authorize(store, actor, repo, "read")
    except WireError:
        return False
    return True


def is_writer(actor: Actor, repo: Repo) -> bool:
    """Whether commits by this actor may reach the repo's branches."""
    return _owns(actor, repo.namespace, {"write", "admin"}) and _token_writes(actor, repo)


def is_admin(actor: Actor, repo: Repo) -> bool:
    """Whether this actor may change settings or delete."""
    return _owns(actor, repo.namespace, {"admin"}) and _token_writes(actor, repo)


def require_namespace(store: Store, actor: Actor, namespace: str) -> str:
    """Check that the actor may create in a namespace; give back its name as it is written."""
    require_write_token(actor)
    account = find_account(store, namespace)
    allowed = _owns(actor, namespace, {"contributor", "write", "admin"})
    if account is None or not allowed or not _token_creates(actor, namespace):
        raise forbidden(
            f"You don't have the rights to create a repo under the namespace {namespace!r}."
        )
    return account.name


def is_member(actor: Actor, namespace: str) -> bool:
    """Whether the actor is one of a namespace's people, with a token that may see its things."""
    if not _owns(actor, namespace, {"read", "contributor", "write", "admin"}):
        return False
    return actor.access != "fineGrained" or any(
        scope.get("entity", "").lower() == namespace.lower() for scope in actor.scopes
    )


def require_user(actor: Actor) -> None:
    """Any valid token will do."""
    if actor.anonymous:
        raise sign_in_needed()


def require_write_token(actor: Actor) -> None:
    """A token that may change things of its user's own."""
    require_user(actor)
    if actor.access == "read":
        raise forbidden("This token has the role read. Use a token with the role write.")


def _require_content(store: Store, actor: Actor, repo: Repo) -> None:
    if not repo.gated or _is_insider(actor, repo):
        return
    if actor.user is None:
        raise WireError(
            401,
            f"Access to {repo.type} {repo.full_name} is restricted. You must have access to it "
            "and be authenticated to access it. Please log in.",
            code="GatedRepo",
        )
    found = row(
        store,
        "SELECT status FROM access_request WHERE repo_id = ? AND user_id = ?",
        repo.id,
        actor.user.id,
    )
    if found is None or found["status"] != "accepted":
        raise _gated(repo, None if found is None else found["status"])


def _gated(repo: Repo, status: str | None) -> WireError:
    what = f"Access to {repo.type} {repo.full_name} is restricted"
    if status == "pending":
        text = f"{what}. Your request to access it is awaiting a review from the repo authors."
    elif status == "rejected":
        text = f"{what}. Your request to access it has been rejected by the repo authors."
    else:
        text = (
            f"{what} and you are not in the authorized list. "
            f"Visit {repo.url_path} to ask for access."
        )
    return WireError(403, text, code="GatedRepo")


def _require_token_scope(actor: Actor, repo: Repo) -> None:
    if actor.access == "read":
        raise forbidden("This token has the role read. Use a token with the role write.")
    if actor.access == "fineGrained" and "write" not in _granted(actor, repo):
        raise forbidden(f"This token has no write permission on {repo.full_name}.")


def _is_insider(actor: Actor, repo: Repo) -> bool:
    """One of the repo's own people, and not with a token that is for something else."""
    if not _owns(actor, repo.namespace, {"read", "contributor", "write", "admin"}):
        return False
    return actor.access != "fineGrained" or bool(_granted(actor, repo))


def _owns(actor: Actor, namespace: str, roles: set[str]) -> bool:
    if actor.user is None:
        return False
    return actor.name.lower() == namespace.lower() or actor.role_in(namespace) in roles


def _token_writes(actor: Actor, repo: Repo) -> bool:
    if actor.access == "fineGrained":
        return "write" in _granted(actor, repo)
    return actor.access == "write"


def _token_creates(actor: Actor, namespace: str) -> bool:
    if actor.access != "fineGrained":
        return actor.access == "write"
    return any(
        scope.get("entity", "").lower() == namespace.lower() and "write" in scope["permissions"]
        for scope in actor.scopes
    )


def _granted(actor: Actor, repo: Repo) -> set[str]:
    """What a fine-grained token may do here: its scopes name a namespace or one repo."""
    names = {repo.namespace.lower(), f"{repo.type}s/{repo.full_name}".lower()}
    granted: set[str] = set()
    for scope in actor.scopes:
        if scope.get("entity", "").lower() in names:
            granted.update(scope.get("permissions", []))
    return granted | {"read"} if granted else granted
