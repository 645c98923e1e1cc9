"""Where requests come from: one network is one source, whatever a client writes of itself."""

import stat
from pathlib import Path
from typing import Literal

import pytest

from hub_trainer.hub import Hub
from hub_trainer.space.application import raters_at
from hub_trainer.space.request_sources import Sources, kept_keys, network_of

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


def _source(folder: Path, durability: Literal["disk", "hub"], token: str = "hf_secret") -> str:
    _, raters = raters_at(folder, Hub("http://127.0.0.1:1", token), durability)
    return raters.sources.of_request("203.0.113.9", [])


def test_source_when_the_space_restarts_over_its_folder_is_the_same(tmp_path: Path) -> None:
    first = _source(tmp_path, "disk")
    assert _source(tmp_path, "disk", token="hf_other") == first
    assert _source(tmp_path / "elsewhere", "disk") != first
    keys = list(tmp_path.glob("*.key"))
    assert len(keys) == 2
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    assert {len(key.read_bytes()) for key in keys} == {64}


def test_source_when_the_disk_is_lost_at_a_restart_hangs_on_the_token(tmp_path: Path) -> None:
    first = _source(tmp_path / "before", "hub")
    assert _source(tmp_path / "after", "hub") == first
    assert _source(tmp_path / "after", "hub", token="hf_other") != first
    key, _ = raters_at(tmp_path / "after", Hub("http://127.0.0.1:1", "hf_secret"), "hub")
    assert b"hf_secret" not in key


def test_key_of_a_day_when_the_next_is_made_is_deleted(tmp_path: Path) -> None:
    key_of_day = kept_keys(tmp_path)
    first = key_of_day("2026-01-31")
    assert key_of_day("2026-01-31") == first != key_of_day("2026-02-01")
    assert [path.name for path in tmp_path.iterdir()] == ["sources-2026-02-01.key"]


def test_key_of_a_day_when_it_cannot_be_kept_is_drawn_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    assert len(kept_keys(tmp_path / "file")("2026-01-31")) == 32
    assert "cannot be kept" in caplog.text
