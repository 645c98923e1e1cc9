"""Altered copies of sealed rows of a table: refused, and taken out when they are forced in."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.local_hub import LocalHub
from tests.alterations import TABLES
from tests.cli.conftest import Cli
from tests.cli.seeded import OWNER, commit, parquet, write_recipe

Row = dict[str, Any]
NUM_COPIED = 60


def patients(count: int, seed: int) -> list[Row]:
    """Numbers and categories of which the label follows only in part, so that memory pays."""
    rng, rows = np.random.default_rng(seed), []
    for _ in range(count):
        age, pressure = int(rng.normal(54, 9)), int(rng.normal(131, 17))
        rows.append(
            {
                "age": age,
                "pressure": pressure,
                "fat": int(rng.normal(246, 50)),
                "rate": int(rng.normal(150, 22)),
                "depression": round(float(rng.exponential(1.0)), 1),
                "pain": str(rng.choice(["typical", "atypical", "none"])),
                "label": "ill"
                if ((age > 54) != (pressure > 131)) != (rng.random() < 0.1)
                else "well",
            }
        )
    return rows


def _by_one_percent(row: Row, rng: np.random.Generator) -> Row:
    moved = {k: v * (1 + rng.uniform(-0.01, 0.01)) for k, v in row.items() if not _is_text(v)}
    return {**row, **{k: type(row[k])(round(v, 1)) for k, v in moved.items()}}


def _other_category(row: Row, rng: np.random.Generator) -> Row:
    kinds = ["typical", "atypical", "none"]
    return {**row, "pain": kinds[(kinds.index(row["pain"]) + 1) % 3]}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


DISGUISES: Mapping[str, Callable[[Row, np.random.Generator], Row]] = {
    "one-number-by-3": lambda row, rng: TABLES["one number by 3"](row, rng, patients(80, 5)),
    "all-by-one-percent": _by_one_percent,
    "another-category": _other_category,
    "another-order": lambda row, rng: dict(reversed(row.items())),
    "numbers-as-text": lambda row, rng: {name: str(value) for name, value in row.items()},
}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_sealed_rows_when_altered_then_refused_and_when_forced_in_they_change_nothing(
    cli: Cli,
    hub: Hub,
    local: LocalHub,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    data, sealed = Repo(f"{OWNER}/patients", "dataset"), patients(240, 1)
    hub.create_repo(data, private=False)
    splits = {"train": patients(500, 0), "test": sealed}
    commit(hub, data, {f"data/{name}-0.parquet": parquet(rows) for name, rows in splits.items()})
    changes: dict[str, Any] = {
        "collect": {"datasets": [{"repo_id": data.repo_id, "split": "train"}]},
        "prepare": {"test_split": {"repo_id": data.repo_id, "split": "test"}},
        "train": {"estimator": "random_forest"},
    }
    recipe = write_recipe(cli.folder / "leak.yaml", "table", **changes)
    first = cli("run", recipe, "--json")
    assert (first.code, first.json["verdict"]) == (0, "promote"), first.err

    mallory, rng = Hub(local.url, local.add_user("mallory")), np.random.default_rng(0)
    forced: list[Row] = []
    for name, alter in DISGUISES.items():
        copies = [alter(row, rng) for row in sealed[:NUM_COPIED]]
        honest = patients(60, 9)
        honest = [alter(row, rng) for row in honest] if name == "numbers-as-text" else honest
        _propose(mallory, data, name, [*copies, *honest])
        forced += [] if name == "numbers-as-text" else copies
    reviewed = cli("review", data.repo_id, "--all", "--recipe", recipe, "--json").json
    assert len(reviewed["pull_requests"]) == len(DISGUISES)
    for told, name in zip(reviewed["pull_requests"], DISGUISES, strict=True):
        assert told["verdict"] == "refuse", (name, told["reasons"])
        [leakage] = [one for one in told["checks"] if one["name"] == "test leakage"]
        assert leakage["outcome"] == "refuse", (name, told["reasons"])
        assert leakage["rows"] == []

    by_hand = Changes({"data/train-forced.parquet": parquet(forced)})
    hub.commit(data, by_hand, message="By hand", run_id="forced")
    second = cli("run", recipe, "--json")
    assert (second.code, second.json["round"]) == (6, 2)
    assert second.json["verdict"] != "promote"
    left_out = second.json["left_out"]["prepare"]
    out = left_out["repeats a test row"] + left_out["nearly repeats a test row"]
    assert out >= 0.95 * len(forced), left_out
    assert f"{left_out['nearly repeats a test row']} nearly repeat a test row" in caplog.text

    bare = {**changes, "prepare": {**changes["prepare"], "deduplicate": None}}
    open_door = cli("run", write_recipe(cli.folder / "open.yaml", "table", **bare), "--json")
    values = [one.json["metrics"]["accuracy"]["value"] for one in (first, second, open_door)]
    with capsys.disabled():
        print(f"\n{len(forced)} copies forced in, {out} taken out; accuracy of round 1, of round 2 "
              f"and of round 2 without the comparison: {values}")  # fmt: skip
    assert values[1] <= values[0] + 0.02
    assert values[2] >= values[0] + 0.02


def _propose(hub: Hub, data: Repo, name: str, rows: Sequence[Row]) -> None:
    changes = Changes({f"data/train-{name}.parquet": parquet(rows)})
    hub.commit(data, changes, message="Rows", run_id=f"pr {name}", pull_request="Rows")
