"""Users, organisations, memberships and tokens: who is asking."""

import hashlib
import json
import secrets
import sqlite3
from dataclasses import dataclass
from typing import Any

from hub_trainer.local_hub.errors import bad_credentials, bad_request
from hub_trainer.local_hub.names import check_account_name, new_id, now_iso
from hub_trainer.local_hub.store import Store, row, rows

TOKEN_ROLES = {"read": "read", "write": "write", "fineGrained": "fineGrained"}
ORG_ROLES = ("read", "contributor", "write", "admin")


@dataclass(frozen=True)
class Account:
    """A user or an organisation."""

    id: str
    kind: str
    name: str
    fullname: str
    email: str
    new_repos_are_private: bool
    created: str


@dataclass(frozen=True)
class Actor:
    """Who makes a request. Without `user` it is anybody."""

    user: Account | None = None
    access: str = "none"
    token_name: str = ""
    token_created: str = ""
    scopes: tuple[dict[str, Any], ...] = ()
    orgs: tuple[tuple[str, str], ...] = ()
    """(organisation name, role), names as they are written."""

    @property
    def name(self) -> str:
        """The user's name, or the empty string."""
        return self.user.name if self.user else ""

    @property
    def anonymous(self) -> bool:
        """True if no token was sent."""
        return self.user is None

    def role_in(self, org: str) -> str | None:
        """The role in an organisation, if any."""
        return next((role for name, role in self.orgs if name.lower() == org.lower()), None)


NOBODY = Actor()


def find_account(store: Store, name: str) -> Account | None:
    """The user or organisation of that name, in any case."""
    found = row(store, "SELECT * FROM account WHERE name_ci = ?", name.lower())
    return None if found is None else _account(found)


def find_account_by_id(store: Store, account_id: str) -> Account | None:
    """The user or organisation of that id."""
    found = row(store, "SELECT * FROM account WHERE id = ?", account_id)
    return None if found is None else _account(found)


def add_user(store: Store, name: str, fullname: str | None = None) -> Account:
    """Create a user, or give back the one there is."""
    return _add_account(store, "user", name, fullname or name, private=False)


def add_org(
    store: Store, name: str, fullname: str | None = None, *, private: bool = False
) -> Account:
    """Create an organisation, or update the one there is; `private` is for its new repos."""
    org = _add_account(store, "org", name, fullname or name, private=private)
    with store.write() as db:
        if fullname:
            db.execute("UPDATE account SET fullname = ? WHERE id = ?", (fullname, org.id))
        if private:
            db.execute("UPDATE account SET new_repos_are_private = 1 WHERE id = ?", (org.id,))
    return org


def _add_account(store: Store, kind: str, name: str, fullname: str, *, private: bool) -> Account:
    check_account_name(name)
    with store.write() as db:
        known = find_account(store, name)
        if known is not None and known.kind != kind:
            raise bad_request(f"{name} is already the name of a {known.kind}.")
        if known is None:
            account_id = new_id()
            email = f"{name}@users.noreply.localhost"
            db.execute(
                "INSERT INTO account VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (account_id, kind, name, name.lower(), fullname, email, private, now_iso()),
            )
            known = find_account(store, name)
    assert known is not None
    return known


def set_member(store: Store, org: Account, user: Account, role: str) -> None:
    """Make a user a member of an organisation with a role, or change the role."""
    if role not in ORG_ROLES:
        raise bad_request(
            f"Invalid role {role!r} in {org.name}. Use one of {', '.join(ORG_ROLES)}."
        )
    with store.write() as db:
        db.execute("INSERT OR REPLACE INTO member VALUES (?, ?, ?)", (org.id, user.id, role))


def add_token(
    store: Store,
    user: Account,
    *,
    role: str = "write",
    token: str | None = None,
    scopes: list[dict[str, Any]] | None = None,
) -> str:
    """Give a user a token. Only its hash is kept, so this is the one time that it can be read."""
    role = "fineGrained" if role == "fine-grained" else role
    if role not in TOKEN_ROLES:
        raise bad_request(f"Invalid token role {role!r}. Use read, write or fine-grained.")
    token = token or "hf_" + secrets.token_urlsafe(24).replace("-", "a").replace("_", "b")
    values = (
        new_id(),
        user.id,
        role,
        token_digest(token),
        role,
        json.dumps(scopes or []),
        now_iso(),
    )
    with store.write() as db:
        db.execute(
            "INSERT INTO token(id, user_id, name, digest, role, scopes, created)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (digest) DO UPDATE SET user_id = excluded.user_id, role = excluded.role,"
            " scopes = excluded.scopes, revoked = 0",
            values,
        )
    return token


def revoke_token(store: Store, token: str) -> None:
    """From now on the token is refused everywhere."""
    with store.write() as db:
        db.execute("UPDATE token SET revoked = 1 WHERE digest = ?", (token_digest(token),))


def has_token(store: Store, name: str) -> bool:
    """Whether a user of this name has a token that is not revoked."""
    found = row(
        store,
        "SELECT 1 FROM token JOIN account ON account.id = token.user_id"
        " WHERE account.name_ci = ? AND NOT token.revoked",
        name.lower(),
    )
    return found is not None


def token_digest(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def actor_of_token(store: Store, token: str | None) -> Actor:
    """Who holds this token; no token is nobody, an unknown or revoked one is an error."""
    return actor_of_digest(store, token_digest(token)) if token else NOBODY


def actor_of_digest(store: Store, digest: str) -> Actor:
    """Who holds the token of this digest, else 401."""
    found = row(
        store,
        "SELECT user_id, name, role, scopes, created FROM token WHERE digest = ? AND NOT revoked",
        digest,
    )
    user = find_account_by_id(store, found["user_id"]) if found is not None else None
    if found is None or user is None:
        raise bad_credentials()
    return Actor(
        user=user,
        access=found["role"],
        token_name=found["name"],
        token_created=found["created"],
        scopes=tuple(json.loads(found["scopes"])),
        orgs=orgs_of(store, user),
    )


def orgs_of(store: Store, user: Account) -> tuple[tuple[str, str], ...]:
    """The organisations of a user: (name, role)."""
    found = rows(
        store,
        "SELECT account.name, member.role FROM member JOIN account ON account.id = member.org_id"
        " WHERE member.user_id = ? ORDER BY account.name",
        user.id,
    )
    return tuple((each["name"], each["role"]) for each in found)


def members_of(store: Store, org: Account) -> list[tuple[Account, str]]:
    """The members of an organisation and their roles."""
    found = rows(
        store,
        "SELECT account.*, member.role FROM member JOIN account ON account.id = member.user_id"
        " WHERE member.org_id = ? ORDER BY account.name",
        org.id,
    )
    return [(_account(each), each["role"]) for each in found]


def load_accounts(store: Store, accounts: dict[str, Any]) -> None:
    """Create what an accounts file lists; what is there already is kept."""
    for org in accounts.get("orgs", []):
        private = bool(org.get("new_repos_are_private", False))
        add_org(store, org["name"], org.get("fullname"), private=private)
    for entry in accounts.get("users", []):
        user = add_user(store, entry["name"], entry.get("fullname"))
        if entry.get("token"):
            role = entry.get("role", "write")
            add_token(store, user, role=role, token=entry["token"], scopes=entry.get("scopes"))
        for org in entry.get("orgs", []):
            account = add_org(store, org["name"], org.get("fullname"))
            set_member(store, account, user, org.get("role", "read"))


def _account(found: sqlite3.Row) -> Account:
    return Account(
        id=found["id"],
        kind=found["kind"],
        name=found["name"],
        fullname=found["fullname"],
        email=found["email"],
        new_repos_are_private=bool(found["new_repos_are_private"]),
        created=found["created"],
    )
