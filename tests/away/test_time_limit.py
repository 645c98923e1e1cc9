"""Time limits of rounds that run elsewhere."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from hub_trainer.away import time_limit as limits
from hub_trainer.errors import UsageError
from hub_trainer.hub import Hub
from hub_trainer.plan.forecast import Forecast, Search
from hub_trainer.recipe import load_recipe
from tests.cli.seeded import write_recipe


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90m", 5400), ("2h", 7200), ("1.5d", 129600), ("120s", 120), ("02:30:00", 9000)],
)
def test_time_when_written_in_any_way_then_is_read(text: str, seconds: int) -> None:
    assert limits.parse_time_limit(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "2 h", "-1h", "5s", "1:2:3", "2w"])
def test_time_when_it_is_none_then_says_how_to_write_one(text: str) -> None:
    with pytest.raises(UsageError, match="--time is no time limit") as caught:
        limits.parse_time_limit(text)
    assert caught.value.do == "Write 90m, 2h, 1.5d or 02:30:00, from 1m on."


def _limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float | None, search: Search | None
) -> int:
    plan = SimpleNamespace(forecast=Forecast(None, "", seconds, "nobody"), search=search)
    monkeypatch.setattr(limits, "plan_round", lambda *_, **__: plan)
    recipe = load_recipe(write_recipe(tmp_path / "r.yaml", "text"))
    return limits.time_limit(None, recipe, Hub("http://127.0.0.1:1", "hf_x"))


def test_limit_when_nobody_says_one_then_is_the_estimate_with_a_margin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _limit(tmp_path, monkeypatch, 3600.0, None) == 2.5 * 3600
    search = Search(5, None, 1, ("train.lora.r",), 3600.0)
    assert _limit(tmp_path, monkeypatch, 3600.0, search) == 4.5 * 3600


def test_limit_when_the_plan_has_no_estimate_then_asks_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="No time limit is known for this round") as caught:
        _limit(tmp_path, monkeypatch, None, None)
    assert caught.value.got == "no estimate: nobody"
    assert caught.value.do == "Say how long it may take, as --time 4h."
