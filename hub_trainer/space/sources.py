"""Sources of requests: a pseudonym, for a day, of the network and never of the address."""

import hashlib
import hmac
import ipaddress
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

UNKNOWN = "unknown"


class Sources:
    """Pseudonyms by a key that is drawn anew each day and is written nowhere.

    With the day the key is gone, and with it the way from a pseudonym back to a network.
    """

    def __init__(
        self,
        *,
        behind_proxy: bool,
        now: Callable[[], float] = time.time,
        new_key: Callable[[], bytes] = lambda: secrets.token_bytes(32),
    ) -> None:
        self._behind_proxy, self._now, self._new_key = behind_proxy, now, new_key
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
                self._day, self._key = day, self._new_key()
            return self._key


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
