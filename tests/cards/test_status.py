"""The rounds as a table and a picture, and the result of one round, for people."""

import io
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console, RenderableType

from hub_trainer.answers.plots import plot_confusion
from hub_trainer.cards.rounds_plot import RoundPoint, plot_points
from hub_trainer.cards.status import plot_rounds, render_result, render_status
from hub_trainer.reports import ModelPlace, RoundResult
from tests.cards.evidence import estimate, results


@dataclass(frozen=True)
class FakeRound:
    round: int
    verdict: str
    value: float
    parent: str | None = None
    pull_request: int | None = None
    p_value: float | None = 0.0123
    primary: str = "accuracy"
    commit_sha: str | None = "c0ffee1" + "0" * 33
    base: dict[str, Any] | None = None
    train: dict[str, Any] = field(default_factory=lambda: {"rows": 1200})
    recipe: dict[str, Any] = field(default_factory=lambda: {"publish": {"repo_id": "ada/model"}})

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        return {"accuracy": estimate(self.value)}


METRICS = {"accuracy": estimate(0.7), "f1_macro": estimate(0.6)}
ROUNDS = [
    FakeRound(1, "promote", 0.71, p_value=None),
    FakeRound(2, "hold", 0.74, parent="a" * 40, pull_request=3),
    FakeRound(3, "reject", 0.62, parent="a" * 40, pull_request=4),
    FakeRound(4, "promote", 0.86, parent="a" * 40, base={"metrics": {"accuracy": estimate(0.5)}}),
]


def shown(what: RenderableType, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_status_when_rounds_then_one_line_each_with_verdict_and_lineage() -> None:
    lines = [line.split() for line in shown(render_status(ROUNDS)).splitlines()]
    rows = [line for line in lines if line and line[0] in {"1", "2", "3", "4"}]
    assert [row[1] for row in rows] == ["promote", "hold", "reject", "promote"]
    assert rows[1][2:5] == ["0.740", "[0.690,", "0.790]"]
    text = shown(render_status(ROUNDS))
    assert "c0ffee1 #3" in text
    assert "aaaaaaa" in text
    assert "Rounds of ada/model" in text


def test_status_when_a_held_round_is_on_main_then_says_that_it_was_merged_by_hand() -> None:
    merged = FakeRound(2, "hold", 0.74, parent="a" * 40)
    text = shown(render_status([ROUNDS[0], merged, ROUNDS[2]]))
    assert "hold, merged by hand" in text
    assert text.count("by hand") == 1


def test_status_when_the_terminal_is_narrow_then_it_still_fits() -> None:
    lines = shown(render_status(ROUNDS), width=80).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert sum("0.740" in line and "0.790]" in line for line in lines) == 1


def test_result_when_published_then_metrics_stand_beside_those_before() -> None:
    result = RoundResult(
        round=2,
        verdict="hold",
        reasons=["not shown better: [p] = 0.2"],
        model=ModelPlace("ada/model", "c" * 40, 5),
        metrics=results()["metrics"],
        published=results()["published"],
        primary="accuracy",
        p_value=0.2,
        num_examples=100,
        round_dir="rounds/model/round-002",
        train={
            "method": "full",
            "rows": 300,
            "epochs": 3.0,
            "seconds": 12.5,
            "rows_per_second": 24.0,
            "peak_mb": 812.0,
            "num_processes": 1,
        },
    )
    text = shown(render_result(result))
    assert "Round 2: hold, ada/model at ccccccc, pull request 5  (rounds/model/round-002)" in text
    assert "0.9002 [0.8502, 0.9502]" in text
    assert "0.8123 [0.7623, 0.8623]" in text
    assert "p = 0.2 on 100 test examples" in text
    assert "not shown better: [p] = 0.2" in text
    assert "trained 300 rows, method full, 3 epochs in 12.5 s" in text
    assert "The model waits in pull request 5: of ada/model" in text
    page = "http://hub/ada/model/discussions/5"
    waiting = replace(result, model=replace(result.model, url=page))
    text = shown(render_result(waiting))
    assert f"The model waits in pull request 5: {page}" in text
    assert "Either merge it there by hand" in text
    assert "Or change what it learns from" in text
    assert page in shown(render_status(ROUNDS, [waiting]))
    assert page not in shown(render_result(replace(waiting, verdict="promote")))
    probe = {"name": "probe", "metrics": METRICS}
    first = replace(waiting, published=None, baselines=[probe])
    text = shown(render_result(first))
    assert "cheap probe" in text
    assert "0.7000" in text


def test_result_when_only_trained_then_it_says_so() -> None:
    result = RoundResult(
        round=1,
        model=ModelPlace(),
        round_dir="r",
    )
    assert shown(render_result(result)).strip() == "Round 1: not evaluated yet  (r)"
    elsewhere = replace(result, round_dir=None)
    assert shown(render_result(elsewhere)).strip() == "Round 1: not evaluated yet"


def test_plot_when_rounds_then_a_picture_of_900_pixels(tmp_path: Path) -> None:
    plot_rounds(ROUNDS, tmp_path / "rounds.png")
    with Image.open(tmp_path / "rounds.png") as picture:
        assert picture.size == (900, 460)
        assert len(picture.convert("RGB").getcolors(100_000) or []) > 50
    assert (tmp_path / "rounds.png").stat().st_size < 100_000


def test_plot_when_drawn_twice_then_the_same_bytes(tmp_path: Path) -> None:
    points = [RoundPoint(1, 0.5, 0.4, 0.6, "promote"), RoundPoint(2, 0.6, 0.5, 0.7, "hold")]
    for name in ("a.png", "b.png"):
        plot_points(points, tmp_path / name, metric="accuracy", title="Rounds")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_plot_when_a_round_was_held_then_the_published_line_stays(tmp_path: Path) -> None:
    held = [RoundPoint(1, 0.5, 0.4, 0.6, "hold")]
    plot_points(held, tmp_path / "held.png", metric="accuracy", title="Rounds")
    plot_points(
        [RoundPoint(1, 0.5, 0.4, 0.6, "promote")],
        tmp_path / "promoted.png",
        metric="accuracy",
        title="Rounds",
    )
    assert (tmp_path / "held.png").read_bytes() != (tmp_path / "promoted.png").read_bytes()


@pytest.mark.parametrize(
    ("verdicts", "named"),
    [
        (["promote"], ["promoted"]),
        (["hold", "promote"], ["promoted", "held back"]),
        (["promote", "hold"], ["published model", "promoted", "held back"]),
    ],
)
def test_plot_when_no_line_is_drawn_then_the_legend_names_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verdicts: list[Any], named: list[str]
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(
        "hub_trainer.cards.rounds_plot.save",
        lambda drawn, path: seen.extend(drawn.axes[0].get_legend_handles_labels()[1]),
    )
    points = [RoundPoint(n, 0.5, 0.4, 0.6, one) for n, one in enumerate(verdicts, start=1)]
    plot_points(points, tmp_path / "rounds.png", metric="accuracy", title="Rounds")
    assert seen == named


def test_confusion_when_labels_are_hostile_then_drawn_as_text(tmp_path: Path) -> None:
    labels = ["$\\frac{1}$", "a\nb\0", "x" * 80, "\u202elabel"]
    counts = [[5, 1, 0, 0], [0, 7, 0, 0], [0, 0, 9, 2], [0, 0, 0, 0]]
    plot_confusion(labels, counts, tmp_path / "figures" / "confusion.png")
    assert (tmp_path / "figures" / "confusion.png").stat().st_size > 5_000


def test_confusion_when_there_are_many_labels_then_the_picture_stays_small(tmp_path: Path) -> None:
    count = 150
    counts = [[40 if i == j else (i * j) % 3 for j in range(count)] for i in range(count)]
    plot_confusion([f"label {i}" for i in range(count)], counts, tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size < 250_000


@dataclass(frozen=True)
class LossRound(FakeRound):
    primary: str = "completion_loss"

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        return {"completion_loss": {"value": self.value, "low": self.value, "high": self.value}}


def test_status_when_lower_is_better_then_table_and_picture_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = [LossRound(1, "promote", 1.9), LossRound(2, "promote", 1.4)]
    header, *_ = (line for line in shown(render_status(rounds)).splitlines() if "round" in line)
    assert "completion_loss, lower is better [95 %]" in header
    named: list[str] = []
    monkeypatch.setattr(
        "hub_trainer.cards.status.plot_points", lambda *a, metric, **more: named.append(metric)
    )
    plot_rounds(rounds, tmp_path / "rounds.png")
    plot_rounds(ROUNDS, tmp_path / "rounds.png")
    assert named == ["completion_loss, lower is better", "accuracy"]


def test_status_when_a_metric_is_unknown_then_it_is_shown_as_it_is() -> None:
    assert "loss_of_old" in shown(render_status([FakeRound(1, "hold", 0.5, primary="loss_of_old")]))


def test_result_when_a_model_writes_then_its_win_rate_is_told() -> None:
    result = RoundResult(
        round=2,
        verdict="promote",
        model=ModelPlace("ada/model", "c" * 40, None),
        metrics={"perplexity": {"value": 3.5, "low": 3.25, "high": 3.75}},
        primary="perplexity",
        win_rate={"value": 0.625, "low": 0.5, "high": 0.75},
        round_dir="r",
    )
    text = shown(render_result(result))
    assert "perplexity, lower is better" in text
    assert "win rate over the published model 0.6250 [0.5000, 0.7500]" in text


def test_status_and_result_when_a_figure_is_huge_then_its_digits_are_few() -> None:
    huge = {"value": 1117959.8723, "low": 9e5, "high": 1.5e6}
    result = RoundResult(
        round=1,
        verdict="promote",
        model=ModelPlace(),
        metrics={"perplexity": huge},
        primary="perplexity",
    )
    text = shown(render_result(result))
    assert "1.118e+06 [900000.0000, 1.5e+06]" in text
    assert "1117959" not in text
