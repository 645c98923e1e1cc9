"""Raters: a pseudonym for an account or for a session, and nothing else of them."""

import hashlib
import hmac
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub_trainer.errors import HubError
from hub_trainer.hub import Hub
from hub_trainer.ratings.rating_records import RaterTier, RatingRefused
from hub_trainer.space.key_files import kept_key
from hub_trainer.space.request_sources import Sources

KEY_FILE = "rater.key"
CACHE_SECONDS = 300.0
MAX_CACHED = 10_000
BEARER_HEADERS = ("authorization", "x-hf-authorization")
"""The second is what gradio_client sends, because the Hub's proxy takes the first for itself."""


@dataclass(frozen=True)
class Rater:
    """A pseudonym, and whether an account of the Hub stands behind it."""

    pseudonym: str
    tier: RaterTier
    source: str | None = None
    """The network of an anonymous rater, under a pseudonym for a day: limits hold for all of it."""

    @property
    def limited_as(self) -> str:
        """Who has a limit: the account, or all sessions of a network together."""
        return self.source or self.pseudonym


def rater_key(
    folder: Path, environment: Mapping[str, str] = os.environ, *, derived: bytes | None = None
) -> bytes:
    """RATER_KEY; else `derived`, for a disk that is lost at a restart; else a key in `folder`."""
    if environment.get("RATER_KEY"):
        return environment["RATER_KEY"].encode()
    return derived or kept_key(folder / KEY_FILE)


class Raters:
    """Turns requests into pseudonyms; a token is asked about at the Hub and never kept."""

    def __init__(
        self,
        key: bytes,
        whoami: Callable[[str], Mapping[str, Any]],
        clock: Callable[[], float],
        sources: Sources | None = None,
    ) -> None:
        self.sources = sources or Sources(behind_proxy=False)
        self._key, self._whoami, self._clock = key, whoami, clock
        self._cache: OrderedDict[str, tuple[float, str | None]] = OrderedDict()
        self._lock = threading.Lock()

    def from_token(self, headers: Mapping[str, str]) -> Rater | None:
        """The account whose token is in the headers; None without one. Asks the Hub."""
        token = _bearer(headers)
        if token is None:
            return None
        account = self._account_of(token)
        if account is None:
            raise RatingRefused(
                "The Hub does not know the token of this request.",
                reason="rater",
                do="Send a token of a user account, or none.",
            )
        return self.of_account(account)

    def of_account(self, account: str) -> Rater:
        """The rater that an account id of the Hub is, signed in or by token."""
        return Rater(self._pseudonym(f"hf:{account}"), "account")

    def of_session(self, session: str, source: str) -> Rater:
        """Somebody unknown, for as long as their page is open."""
        return Rater(self._pseudonym(f"session:{session}"), "anonymous", source)

    def _pseudonym(self, identity: str) -> str:
        return hmac.new(self._key, identity.encode(), hashlib.sha256).hexdigest()[:16]

    def _account_of(self, token: str) -> str | None:
        digest = hashlib.sha256(token.encode()).hexdigest()
        with self._lock:
            known = self._cache.get(digest)
        if known and known[0] > self._clock():
            return known[1]
        account = self._ask(token)
        with self._lock:
            self._cache[digest] = (self._clock() + CACHE_SECONDS, account)
            while len(self._cache) > MAX_CACHED:
                self._cache.popitem(last=False)
        return account

    def _ask(self, token: str) -> str | None:
        """Id of the account, None when the Hub does not take the token."""
        try:
            found = self._whoami(token)
        except HubError as error:
            if "does not answer" in error.what:
                raise RatingRefused(
                    "The Hub cannot be asked whose token this is.",
                    reason="busy",
                    do="Try again shortly.",
                ) from None
            return None
        if found.get("type", "user") != "user":
            return None
        return str(found.get("id") or found["name"])


def ask_hub(url: str) -> Callable[[str], Mapping[str, Any]]:
    """Whose token it is, according to the Hub at `url`."""
    return lambda token: Hub(url, token).user()


def build_raters(key: bytes, url: str, sources: Sources | None = None) -> Raters:
    """Raters of the Hub at `url`."""
    return Raters(key, ask_hub(url), time.monotonic, sources)


def _bearer(headers: Mapping[str, str]) -> str | None:
    for name in BEARER_HEADERS:
        scheme, _, token = headers.get(name, "").partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            return token.strip()
    return None
