"""Sources of requests: a pseudonym, for a day, of the network and never of the address."""

import hashlib
import hmac
import ipaddress
import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from hub_trainer.space.key_files import kept_key

log = logging.getLogger(__name__)
UNKNOWN = "unknown"
KeyOfDay = Callable[[str], bytes]
"""The key of a day, which is written as 2026-01-31."""


class Sources:
    """Pseudonyms by a key of the day: the same network is the same source until midnight UTC."""

    def __init__(
        self,
        *,
        behind_proxy: bool,
        now: Callable[[], float] = time.time,
        key_of_day: KeyOfDay = lambda _: secrets.token_bytes(32),
    ) -> None:
        self._behind_proxy, self._now, self._key_of_day = behind_proxy, now, key_of_day
        self._day, self._key = "", b""
        self._lock = threading.Lock()

    def of_request(self, peer: str | None, forwarded: Sequence[str]) -> str:
        """The source of a connection from `peer` with these values of X-Forwarded-For."""
        address = _last_hop(forwarded) if self._behind_proxy else peer
        network = network_of(address or UNKNOWN)
        return hmac.new(self._todays_key(), network.encode(), hashlib.sha256).hexdigest()[:16]

    def _todays_key(self) -> bytes:
        day = datetime.fromtimestamp(self._now(), UTC).date().isoformat()
        with self._lock:
            if day != self._day:
                self._day, self._key = day, self._key_of_day(day)
            return self._key


def kept_keys(folder: Path) -> KeyOfDay:
    """Random keys in `folder`, so that a restart is no new source; a day's goes with the day.

    With the key goes the way from a pseudonym back to a network.
    """

    def key_of(day: str) -> bytes:
        path = folder / f"sources-{day}.key"
        try:
            key = kept_key(path)
            for other in folder.glob("sources-*.key"):
                if other.name < path.name:
                    other.unlink(missing_ok=True)
        except OSError as error:  # a full disk must not stop predictions at midnight
            log.warning("the key of the day cannot be kept, a restart makes another: %s", error)
            return secrets.token_bytes(32)
        return key

    return key_of


def derived_keys(secret: bytes) -> KeyOfDay:
    """Keys from a secret of the Space, for a disk that is lost at a restart."""
    return lambda day: hmac.new(secret, f"sources {day}".encode(), hashlib.sha256).digest()


def network_of(address: str) -> str:
    """The /24 of an IPv4 address, the /64 of an IPv6 address; what is neither is one network."""
    try:
        found = ipaddress.ip_address(address.strip().strip("[]").partition("%")[0])
    except ValueError:
        return UNKNOWN
    found = getattr(found, "ipv4_mapped", None) or found
    size = 24 if found.version == 4 else 64
    return str(ipaddress.ip_network(f"{found}/{size}", strict=False))


def _last_hop(forwarded: Sequence[str]) -> str | None:
    """What the platform itself has appended: a client can write whatever it likes before that.

    Hops within the platform have private addresses, so that the last public one is the client.
    """
    hops = [hop.strip() for value in forwarded for hop in value.split(",") if hop.strip()]
    public = [hop for hop in hops if _is_public(hop)]
    found = public or hops
    return found[-1] if found else None


def _is_public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False
