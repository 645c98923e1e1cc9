"""Where requests come from: one network is one source, whatever a client writes of itself."""

import pytest

from hub_trainer.space.sources import Sources, network_of

DAY_SECONDS = 86_400.0


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.9", "203.0.113.0/24"),
        ("203.0.113.200", "203.0.113.0/24"),
        ("::ffff:203.0.113.9", "203.0.113.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::9]", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix:", "unknown"),
        ("", "unknown"),
        ("203.0.113.9, 1.1.1.1", "unknown"),
    ],
)
def test_network_when_of_an_address_is_its_neighbourhood(address: str, network: str) -> None:
    assert network_of(address) == network


def test_source_when_the_client_forges_its_hops_is_what_the_platform_appended() -> None:
    sources = Sources(behind_proxy=True)
    told = sources.of_request("10.0.0.1", ["8.8.8.8"])
    for forged in ("1.1.1.1, 8.8.8.8", "junk, 9.9.9.9,8.8.8.77", "::1, 8.8.8.8, 10.1.2.3"):
        assert sources.of_request("10.0.0.1", [forged]) == told
    assert sources.of_request("10.0.0.1", ["1.1.1.1", "8.8.8.8"]) == told
    assert sources.of_request("10.0.0.1", ["8.8.9.8"]) != told


def test_source_when_there_is_no_proxy_is_the_connection_alone() -> None:
    sources = Sources(behind_proxy=False)
    assert sources.of_request("203.0.113.9", ["8.8.8.8"]) == sources.of_request("203.0.113.1", [])
    assert len({sources.of_request(peer, []) for peer in (None, "", "unix")}) == 1


def test_source_when_the_day_is_over_has_another_name_and_hides_the_address() -> None:
    seconds = [0.0]
    sources = Sources(behind_proxy=False, now=lambda: seconds[0])
    first = sources.of_request("203.0.113.9", [])
    assert sources.of_request("203.0.113.9", []) == first
    assert "203" not in repr(vars(sources))
    seconds[0] = DAY_SECONDS
    assert sources.of_request("203.0.113.9", []) != first
    assert Sources(behind_proxy=False).of_request("203.0.113.9", []) != first
