"""Evaluation of preferences: shares of pairs, margins, and who is compared with whom."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hub_trainer.answers.completion_asking import uncompared_note
from hub_trainer.errors import DataError
from hub_trainer.hub import Hub
from hub_trainer.local_hub import LocalHub
from hub_trainer.metrics.written_answers import byte_log_prob
from hub_trainer.recipe import Recipe
from hub_trainer.reports import Results
from hub_trainer.stages import evaluate
from tests.stages.prepared import prepare_round, push_model
from tests.stages.writers import FakeWriter, model_folder, rows_of, sums, write_trained
from tests.tasks.factory import recipe

METRICS = ["preference_accuracy", "preference_margin", "completion_loss"]
GOOD, FAIR, BAD = ({"right": r, "loss": 1.0} for r in (0.9, 0.6, 0.3))


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> FakeWriter:
    fake = FakeWriter()
    monkeypatch.setattr(evaluate, "task_of", lambda recipe: fake)
    return fake


@pytest.fixture
def name(local: LocalHub, tmp_path: Path) -> str:
    return f"{local.user}/{tmp_path.name.lower()}-model"


def pairs(count: int, *, start: int = 0) -> list[dict[str, Any]]:
    return [
        {"prompt": f"What is {n}?", "chosen": f"It is {n}.", "rejected": f"It may be about {n}."}
        for n in range(start, start + count)
    ]


def wanted(name: str, **changes: Any) -> Recipe:
    known = {"evaluate__metrics": METRICS, "evaluate__primary": METRICS[0]}
    return recipe(
        "text-generation",
        base_model=f"{name}-base",
        publish__repo_id=name,
        **{**known, **changes},
    )


def evaluated(
    tmp_path: Path,
    hub: Hub,
    of: Recipe,
    *,
    new: dict[str, Any] = GOOD,
    base: dict[str, Any] = BAD,
    published: dict[str, Any] | None = None,
    test: list[dict[str, Any]] | None = None,
) -> tuple[Results, list[dict[str, Any]]]:
    """Results, and rows of predictions.parquet; of 120 pairs unless other rows are given."""
    name, round_dir = of.publish.repo_id, tmp_path / "round"
    pinned = push_model(hub, f"{name}-base", model_folder(tmp_path / "base", "base", **base))
    parent = None
    if published:
        old = model_folder(tmp_path / "old", "published", **published)
        parent = push_model(hub, name, old).commit_sha
    train = rows_of(pairs(40, start=1000), prefix="train")
    sealed = rows_of(test or pairs(120))
    prepare_round(round_dir, train, sealed, base_model=pinned, parent=parent)
    write_trained(round_dir, **new)
    folder = evaluate.run(of, round_dir, hub).folder
    rows = pq.read_table(folder / "predictions.parquet").to_pylist()
    return Results.from_json(json.loads((folder / "results.json").read_text())), rows


def test_run_when_rows_are_preferences_then_all_models_stand_beside_each_other(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    found, rows = evaluated(tmp_path, hub, wanted(name), published=FAIR)
    share = {
        "new": found.metrics,
        "published": found.published,
        **{one.name: one.metrics for one in found.baselines},
    }
    assert set(share) == {"new", "published", "base", "constant"}
    for metrics in share.values():
        assert set(metrics["preference_accuracy"]) == {"value", "low", "high"}
    values = {role: metrics["preference_accuracy"]["value"] for role, metrics in share.items()}
    assert values["base"] < values["published"] < values["new"]
    assert values["constant"] == 1.0  # each chosen answer is the shorter one
    margins = [row["chosen_log_prob"] - row["rejected_log_prob"] for row in rows]
    assert values["new"] == pytest.approx(sum(one > 0 for one in margins) / 120)
    assert found.metrics["preference_margin"]["value"] == pytest.approx(sum(margins) / 120)
    assert [row["score"] for row in rows] == [float(one > 0) for one in margins]
    old = [row["published_chosen_log_prob"] - row["published_rejected_log_prob"] for row in rows]
    assert values["published"] == pytest.approx(sum(one > 0 for one in old) / 120)


def test_run_when_it_prefers_better_than_the_published_then_mcnemar_promotes_it(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    found, _ = evaluated(tmp_path, hub, wanted(name), published=FAIR)
    assert (found.gate["verdict"], found.gate["against"]) == ("promote", "published")
    assert found.comparison is not None
    assert (found.comparison.method, found.comparison.p_value < 0.01) == ("mcnemar", True)
    assert found.writing is not None
    assert found.writing.win_rate["wins"] > 20


def test_run_when_it_prefers_worse_then_rejects(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    found, _ = evaluated(tmp_path, hub, wanted(name), new=FAIR, published=GOOD)
    assert found.gate["verdict"] == "reject"


def test_run_when_the_first_is_below_what_length_alone_gives_then_it_is_not_promoted(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    found, _ = evaluated(tmp_path, hub, wanted(name))
    assert found.gate["verdict"] == "reject"
    constant = next(one for one in found.baselines if one.name == "constant")
    assert constant.description.endswith("so that of two answers the shorter is likelier")
    margins = [byte_log_prob(one["chosen"]) - byte_log_prob(one["rejected"]) for one in pairs(120)]
    value = constant.metrics["preference_margin"]["value"]
    assert value == pytest.approx(sum(margins) / len(margins))


def test_run_when_the_margin_is_primary_then_it_decides_in_nats(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    of = wanted(name, evaluate__primary="preference_margin")
    found, _ = evaluated(tmp_path, hub, of, published=FAIR)
    assert found.gate["verdict"] == "promote"
    assert found.comparison is not None
    assert found.comparison.method == "permutation"
    assert found.gate["value"] == pytest.approx(found.metrics["preference_margin"]["value"])


def test_run_when_a_prompt_has_several_pairs_then_each_is_compared_and_it_is_answered_once(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    raw = [{**one, "rejected": f"{n}?"} for one in pairs(30) for n in range(3)]
    metrics = [*METRICS, "exact_match"]
    found, _ = evaluated(tmp_path, hub, wanted(name, evaluate__metrics=metrics), test=raw)
    assert (found.num_examples, found.num_rows) == (90, 90)
    assert found.writing is not None
    assert found.writing.num_scored == {
        **dict.fromkeys(METRICS[:2], 90),
        **dict.fromkeys(["completion_loss", "exact_match"], 30),
    }
    assert ("answers", "new", 30) in task.calls
    assert ("preferences", "new", 90) in task.calls


def test_run_when_a_model_does_not_take_a_pair_whole_then_none_is_compared_on_it(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    raw = pairs(30)
    raw[4] |= {"rejected": "This is too long."}
    found, rows = evaluated(tmp_path, hub, wanted(name), test=raw)
    assert found.writing is not None
    assert found.writing.num_scored["preference_accuracy"] == 29
    *_, told = found.writing.unscored
    assert "1 of 30 sealed examples is not compared, as a model does not read both answers" in told
    assert (rows[4]["chosen_log_prob"], rows[4]["score"]) == (None, None)


def test_run_when_nothing_compares_answers_then_no_pair_is_asked(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    metrics = {"evaluate__metrics": ["completion_loss"], "evaluate__primary": "completion_loss"}
    _, rows = evaluated(tmp_path, hub, wanted(name, **metrics))
    assert not [call for call in task.calls if call[0] == "preferences"]
    assert "chosen_log_prob" not in rows[0]


@pytest.mark.parametrize("rated", [True, False])
def test_run_when_no_row_has_two_answers_then_says_what_is_missing(
    rated: bool, tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    raw = [{**one, "label": n % 2 == 0} if rated else one for n, one in enumerate(sums(30))]
    told = "preference_accuracy and preference_margin compare a chosen answer with a rejected one"
    with pytest.raises(DataError, match=told) as caught:
        evaluated(tmp_path, hub, wanted(name), test=raw)
    kinds = "desirable, undesirable" if rated else "demonstration"
    assert caught.value.got == f"30 rows: {kinds}"
    assert "rows of chosen and rejected" in str(caught.value)
    assert task.calls == []


def test_note_when_preferences_are_judged_by_a_loss_then_names_what_compares_them() -> None:
    rows = rows_of(pairs(3))
    told = uncompared_note(rows, ["completion_loss"])
    assert told is not None
    assert told.endswith("name preference_accuracy in evaluate")
    assert uncompared_note(rows, METRICS) is None
    assert uncompared_note(rows_of(sums(3)), ["completion_loss"]) is None
