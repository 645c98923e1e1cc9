"""Evaluation of models that write, by a task whose models are as good as a file says."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hub_trainer.answers import Likelihood
from hub_trainer.artifacts import Artifact
from hub_trainer.errors import DataError, TrainingError
from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.lineage import PinnedRepo
from hub_trainer.local_hub import LocalHub
from hub_trainer.ratings.rating_records import Generation, NewRating, RatedGeneration, RaterTier
from hub_trainer.ratings.shards import pack_shard, shard_path
from hub_trainer.recipe import Recipe
from hub_trainer.reports import Results
from hub_trainer.stages import evaluate
from tests.stages.prepared import prepare_round, push_model
from tests.stages.writers import FakeWriter, model_folder, rows_of, sums, write_trained
from tests.tasks.factory import recipe

METRICS = ["exact_match", "token_f1", "completion_loss", "perplexity"]


@pytest.fixture
def name(local: LocalHub, tmp_path: Path) -> str:
    return f"{local.user}/{tmp_path.name.lower()}-model"


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> FakeWriter:
    fake = FakeWriter()
    monkeypatch.setattr(evaluate, "task_of", lambda recipe: fake)
    return fake


def asked(name: str, primary: str = "exact_match", **changes: Any) -> Recipe:
    return recipe(
        "text-generation",
        base_model=f"{name}-base",
        publish__repo_id=name,
        evaluate__metrics=[*METRICS, *([primary] if primary not in METRICS else [])],
        evaluate__primary=primary,
        **changes,
    )


def evaluated(
    tmp_path: Path,
    hub: Hub,
    of: Recipe,
    *,
    new: Mapping[str, Any],
    base: Mapping[str, Any],
    published: Mapping[str, Any] | None = None,
    test: Sequence[Mapping[str, Any]] | None = None,
    learned_from: Sequence[Mapping[str, Any]] | None = None,
    ratings: PinnedRepo | None = None,
) -> Artifact:
    """A round with these models evaluated; 200 sealed sums unless other rows are given."""
    name, round_dir = of.publish.repo_id, tmp_path / "round"
    pinned = push_model(hub, f"{name}-base", model_folder(tmp_path / "base", "base", **base))
    parent = None
    if published:
        old = model_folder(tmp_path / "old", "published", **published)
        parent = push_model(hub, name, old).commit_sha
    rows = test if test is not None else rows_of(sums(200))
    train = learned_from or rows_of(sums(40, start=1000), prefix="train")
    train = [{**dict.fromkeys(rows[0], ""), **row} for row in train]
    prepare_round(round_dir, train, rows, base_model=pinned, parent=parent)
    if ratings:
        pins = json.loads((round_dir / "pins.json").read_text())
        pins["datasets"] = [vars(ratings)]
        (round_dir / "pins.json").write_text(json.dumps(pins))
    write_trained(round_dir, **new)
    return evaluate.run(of, round_dir, hub)


def results(made: Artifact) -> Results:
    return Results.from_json(json.loads((made.folder / "results.json").read_text()))


def predictions(made: Artifact) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(made.folder / "predictions.parquet").to_pylist()
    return rows


GOOD, FAIR, BAD = ({"right": r, "loss": loss} for r, loss in ((0.9, 1.0), (0.6, 1.6), (0.1, 3.0)))


def test_run_when_it_is_the_first_round_then_the_base_model_is_to_beat(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    made = evaluated(tmp_path, hub, asked(name), new=GOOD, base=BAD)
    found = results(made)
    assert (found.answer, found.detail, found.num_rows) == ("completion", {}, 200)
    assert (found.published, found.comparison, found.writing.win_rate) == (None, None, None)
    assert (found.gate["verdict"], found.gate["against"]) == ("promote", "base")
    assert "of the base model as it is on the same 200" in found.gate["reasons"][0]
    assert found.base.description == f"the base model {name}-base as it is"
    assert found.base.metrics["exact_match"]["value"] < 0.2
    match = found.metrics["exact_match"]
    assert 0.8 < match["low"] < match["value"] < match["high"] < 1
    loss, perplexity = (found.metrics[key]["value"] for key in METRICS[2:])
    assert loss == pytest.approx(1.0, abs=0.02)
    assert perplexity == pytest.approx(math.exp(loss))
    assert found.writing.num_scored == dict.fromkeys(METRICS, 200)
    assert made.outputs["gate"]["verdict"] == "promote"
    assert not (made.folder / "confusion.png").exists()


def test_run_when_better_than_the_published_then_promotes_with_its_win_rate(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    found = results(evaluated(tmp_path, hub, asked(name), new=GOOD, published=FAIR, base=BAD))
    assert (found.gate["verdict"], found.gate["against"]) == ("promote", "published")
    rate = found.writing.win_rate
    assert rate["wins"] + rate["ties"] + rate["losses"] == 200
    assert rate["value"] == pytest.approx((rate["wins"] + rate["ties"] / 2) / 200)
    assert 0.5 < rate["low"] < rate["value"] < rate["high"]
    won = (found.metrics["exact_match"]["value"], found.published["exact_match"]["value"])
    assert found.comparison.difference["value"] == pytest.approx(won[0] - won[1])
    assert found.comparison.p_value < 0.01
    assert set(found.writing.answers) == {"new", "published", "base"}
    habits = found.writing.answers["new"]
    assert habits["finished_fraction"] == pytest.approx(won[0])
    assert habits["mean_tokens"] > 5


@pytest.mark.parametrize("primary", ["completion_loss", "perplexity"])
def test_run_when_lower_is_better_then_the_lower_one_is_promoted(
    primary: str, tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    found = results(
        evaluated(tmp_path, hub, asked(name, primary), new=GOOD, published=FAIR, base=BAD)
    )
    gate, metric = found.gate, found.metrics[primary]
    assert gate["verdict"] == "promote"
    assert gate["value"] == pytest.approx(metric["value"])
    assert gate["baseline_value"] == pytest.approx(found.published[primary]["value"])
    assert gate["difference"] < 0
    assert found.comparison.difference["high"] < 0
    assert "lower is better" in gate["reasons"][0]
    assert found.writing.win_rate["value"] > 0.9


def test_run_when_the_loss_is_higher_then_rejects(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    of = asked(name, "completion_loss")
    found = results(evaluated(tmp_path, hub, of, new=BAD, published=GOOD, base=BAD))
    assert found.gate["verdict"] == "reject"
    assert found.gate["reasons"][-1].startswith("worse")


def test_run_when_models_are_asked_then_all_in_the_same_way_and_only_what_is_needed(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    of = recipe(
        "text-generation",
        base_model=f"{name}-base",
        publish__repo_id=name,
        evaluate__metrics=["exact_match"],
        evaluate__primary="exact_match",
        evaluate__generation={"max_new_tokens": 7, "temperature": 0.5},
    )
    made = evaluated(tmp_path, hub, of, new=GOOD, published=FAIR, base=BAD)
    assert task.calls == [
        *(("answers", "new", 200), ("likelihoods", "new", 8)),
        *(("answers", "published", 200), ("answers", "base", 200), ("answers", "new", 6)),
    ]
    assert task.sampling is not None
    assert (task.sampling.max_new_tokens, task.sampling.temperature) == (7, 0.5)
    assert results(made).writing.sampling["temperature"] == 0.5
    assert sum(row["log_prob"] is not None for row in predictions(made)) == 8


def test_run_when_it_goes_on_from_the_published_model_then_that_is_asked_once(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    pinned = push_model(hub, name, model_folder(tmp_path / "old", "published", **FAIR))
    train, test = rows_of(sums(40, start=1000), prefix="train"), rows_of(sums(200))
    prepare_round(tmp_path / "r", train, test, base_model=pinned, parent=pinned.commit_sha)
    write_trained(tmp_path / "r", **GOOD)
    found = results(evaluate.run(asked(name), tmp_path / "r", hub))
    assert [call[1] for call in task.calls].count("published") == 2
    assert found.base.metrics == found.published
    assert found.base.description == f"the base model {name} as it is"


def test_run_when_only_losses_are_measured_then_no_sealed_prompt_is_answered(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    of = recipe(
        "text-generation",
        base_model=f"{name}-base",
        publish__repo_id=name,
        evaluate__metrics=["completion_loss"],
        evaluate__primary="completion_loss",
    )
    made = evaluated(tmp_path, hub, of, new=GOOD, base=BAD)
    assert [call for call in task.calls if call[0] == "answers"] == [("answers", "new", 6)]
    assert results(made).writing.answers == {}
    assert {row["answer"] for row in predictions(made)} == {None}


def test_run_when_done_then_predictions_agree_with_the_metrics(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    made = evaluated(tmp_path, hub, asked(name), new=GOOD, published=FAIR, base=BAD)
    rows, found = predictions(made), results(made)
    assert list(rows[0]) == [
        *("_row_id", "prompt", "reference", "log_prob", "num_tokens", "answer", "score"),
        *("published_answer", "published_score"),
    ]
    assert (rows[3]["prompt"], rows[3]["reference"]) == ("What is 3 plus 3?", "It is 6.")
    for prefix, metrics in (("", found.metrics), ("published_", found.published)):
        mean = sum(row[f"{prefix}score"] for row in rows) / len(rows)
        assert mean == pytest.approx(metrics["exact_match"]["value"])
    for row in rows:
        assert row["score"] == float(row["answer"] == row["reference"])
    loss = -sum(row["log_prob"] for row in rows) / sum(row["num_tokens"] for row in rows)
    assert loss == pytest.approx(found.metrics["completion_loss"]["value"])


def test_run_when_examples_are_shown_then_validation_prompts_and_what_is_answered(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    shown = results(evaluated(tmp_path, hub, asked(name), new=GOOD, base=BAD)).examples
    assert len(shown) == 6
    assert set(shown[0]) == {"prompt", "reference", "answer"}
    assert shown[0]["prompt"] == "What is 1000 plus 1000?"


def test_run_when_a_slice_is_worse_then_rejects_and_names_it(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    raw = sums(200)
    topics = ["new" if index % 2 else "old" for index in range(200)]
    rows = rows_of(raw, topic=topics)
    of = asked(name, "completion_loss", evaluate__slices=["topic"])
    made = evaluated(tmp_path, hub, of, new=FAIR, published=GOOD, base=BAD, test=rows)
    gate = results(made).gate
    assert {one["value"] for one in gate["slices"]} == {"new", "old"}
    assert all(one["regressed"] and one["change"] > 0 for one in gate["slices"])
    assert any("topic = old" in reason for reason in gate["reasons"])


def test_run_when_a_slice_column_is_missing_then_says_which(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    of = asked(name, evaluate__slices=["topic"])
    with pytest.raises(DataError, match=r"evaluate\.slices names topic"):
        evaluated(tmp_path, hub, of, new=GOOD, published=FAIR, base=BAD)


def test_run_when_a_prompt_is_in_several_rows_then_it_is_asked_once(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    raw = [
        {"prompt": one["prompt"], "completion": said, "label": label}
        for one in sums(30)
        for said, label in (("rubbish", False), (one["completion"], True), ("It is so.", True))
    ]
    made = evaluated(tmp_path, hub, asked(name), new=GOOD, base=BAD, test=rows_of(raw))
    rows = predictions(made)
    assert results(made).num_examples == len(rows) == 30
    assert made.outputs["num_rows"] == results(made).num_rows == 90
    assert rows[2]["reference"] == "It is 4."


def test_run_when_only_bad_answers_are_known_then_what_is_expected_still_scores(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    raw = [
        {
            "prompt": f"Tell of Tim, {n}.",
            "completion": f"Tim {n}",
            "label": n < 20,
            "expected": "Tim",
        }
        for n in range(50)
    ]
    made = evaluated(tmp_path, hub, asked(name, "contains"), new=GOOD, base=BAD, test=rows_of(raw))
    found = results(made)
    assert found.writing.num_scored == {**dict.fromkeys(METRICS, 20), "contains": 50}
    assert found.metrics["contains"]["value"] > 0.8
    assert [row["reference"] for row in predictions(made)[18:22]] == [
        "Tim 18",
        "Tim 19",
        None,
        None,
    ]


def test_run_when_rows_are_plain_texts_then_answers_cannot_be_scored(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    texts = rows_of([{"text": f"Once there was a cat, {n}."} for n in range(30)])
    told = "texts without a prompt, and exact_match, token_f1 score answers"
    with pytest.raises(DataError, match=told) as caught:
        evaluated(tmp_path, hub, asked(name), new=GOOD, base=BAD, test=texts)
    assert caught.value.got == "no prompt in 30 rows"
    assert "completion_loss or perplexity" in str(caught.value)
    assert task.calls == []


def test_run_when_rows_are_plain_texts_then_they_are_weighed(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    texts = rows_of([{"text": f"Once there was a cat, {n}."} for n in range(30)])
    of = recipe(
        "text-generation",
        base_model=f"{name}-base",
        publish__repo_id=name,
        evaluate__metrics=["perplexity"],
        evaluate__primary="perplexity",
    )
    made = evaluated(tmp_path, hub, of, new=GOOD, base=BAD, test=texts)
    assert results(made).gate["verdict"] == "promote"
    assert predictions(made)[0]["reference"] == "Once there was a cat, 0."


def test_run_when_no_answer_is_right_then_says_what_to_give(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    raw = [{**one, "label": False} for one in sums(30)]
    with pytest.raises(DataError, match="exact_match can score too few") as caught:
        evaluated(tmp_path, hub, asked(name), new=GOOD, base=BAD, test=rows_of(raw))
    assert "30 have a prompt, 0 a right answer" in str(caught.value)
    assert "in the column expected" in str(caught.value)


def test_run_when_a_prompt_leaves_no_room_then_its_loss_is_left_out(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    raw = sums(30)
    raw[4] = {"prompt": "This is too long.", "completion": "Yes."}
    rows = [{**row, "_row": n, "_source": "o/d@sha"} for n, row in enumerate(rows_of(raw), start=1)]
    made = evaluated(tmp_path, hub, asked(name), new=GOOD, base=BAD, test=rows)
    found = results(made)
    assert found.writing.num_scored["completion_loss"] == 29
    assert found.writing.num_scored["exact_match"] == 30
    told = (
        "1 of 30 sealed examples is not compared, as the prompt fills all that a model reads: row 5"
        " of o/d@sha"
    )
    assert (found.writing.unscored, made.outputs["warnings"]) == ([told], [told])
    assert made.outputs["num_scored"] == 30


def test_run_when_no_prompt_leaves_room_then_says_so(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    raw = [{**one, "prompt": one["prompt"] + " too long"} for one in sums(5)]
    with pytest.raises(DataError, match="completion_loss can score too few") as caught:
        evaluated(tmp_path, hub, asked(name), new=GOOD, base=BAD, test=rows_of(raw))
    assert "0 of 5 leave room for an answer" in str(caught.value)


def test_run_when_a_likelihood_is_no_number_then_the_weights_are_to_blame(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        task, "likelihoods", lambda folders, rows: [Likelihood(math.nan, 3) for _ in rows]
    )
    with pytest.raises(TrainingError, match="To the new model sealed answers have") as caught:
        evaluated(tmp_path, hub, asked(name), new=GOOD, base=BAD)
    assert caught.value.got == "200 of 200"


def test_run_when_there_is_no_base_then_a_constant_answer_is_to_beat(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    of = asked(name, train__method="scratch")
    same = [{"prompt": f"Is {n} odd?", "completion": "no" if n % 3 else "yes"} for n in range(90)]
    found = results(evaluated(tmp_path, hub, of, new=GOOD, base=BAD, test=rows_of(same)))
    assert found.gate["against"] == "baseline"
    assert found.base is None
    [constant] = found.baselines
    assert constant.name == "constant"
    assert "commonest answer" in constant.description
    assert "base" not in found.writing.answers
    # bytes of the reference, at log 256 each, per token of the new model
    assert constant.metrics["completion_loss"]["value"] > 1.0
    assert found.gate["verdict"] == "promote"


def test_run_when_thumbs_are_learned_then_no_linear_model_is_asked(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    said = [{**one, "label": n % 2 == 0} for n, one in enumerate(sums(40, start=1000))]
    learned = rows_of(said, prefix="train")
    assert {row["label"] for row in learned} == {"desirable", "undesirable"}
    found = results(evaluated(tmp_path, hub, asked(name), new=GOOD, base=BAD, learned_from=learned))
    assert [one.name for one in found.baselines] == ["base", "constant"]


def test_run_when_a_constant_answer_is_as_good_then_better_than_the_base_is_not_enough(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    same = [{"prompt": f"Is {n} odd?", "completion": "no" if n % 20 else "yes"} for n in range(90)]
    rows = rows_of(same)
    found = results(
        evaluated(tmp_path, hub, asked(name), new=GOOD, base=BAD, test=rows, learned_from=rows)
    )
    figures = {one.name: one.metrics["exact_match"]["value"] for one in found.baselines}
    mine = found.metrics["exact_match"]["value"]
    assert figures["base"] < mine < figures["constant"]
    assert found.gate["verdict"] in ("hold", "reject")
    assert found.gate["against"] == "base"
    assert "a constant answer" in found.gate["reasons"][-1]


def test_run_when_the_new_model_is_an_adapter_then_its_base_goes_along(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    of, round_dir = asked(name), tmp_path / "round"
    pinned = push_model(hub, f"{name}-base", model_folder(tmp_path / "base", "base", **BAD))
    prepare_round(round_dir, rows_of(sums(40, start=500)), rows_of(sums(20)), base_model=pinned)
    model = write_trained(round_dir, **GOOD, needs="base")
    config = {"peft_type": "LORA", "base_model_name_or_path": pinned.repo_id}
    (model / "adapter_config.json").write_text(
        json.dumps({**config, "revision": pinned.commit_sha})
    )
    found = results(evaluate.run(of, round_dir, hub))
    assert found.metrics["exact_match"]["value"] > 0.7


def rated(
    kind: str, rater: str, pair: str, models: tuple[str, str], tier: RaterTier = "account"
) -> RatedGeneration:
    first, second = (
        Generation(
            generation_id=f"{pair}-{model}",
            row={"text": "Tell.", "prompt": json.dumps("Tell.")},
            row_id="r" * 64,
            model=model,
            prediction=f"by {model}",
            scores={},
            rater=rater,
            created=1.0,
            sampling={"seed": 1},
        )
        for model in models
    )
    rating = NewRating(
        rating_id=f"{pair}-{rater}-{kind}",
        generation_id=first.generation_id,
        rater=rater,
        rater_tier=tier,
        kind=kind,  # type: ignore[arg-type]
        answer="",
        consent="1",
        created=2.0,
        pair_id=pair,
    )
    return RatedGeneration(1, rating, first, second, "right")


def push_ratings(hub: Hub, name: str) -> PinnedRepo:
    new, old = f"{name}@{'2' * 40}", f"{name}@{'1' * 40}"
    said = [rated("prefer", f"r{n}", f"p{n}", (new, old)) for n in range(12)]
    said += [rated("prefer", f"s{n}", f"q{n}", (old, new), "anonymous") for n in range(50)]
    said += [rated("prefer", "r0", "p20", (old, new)), rated("tie", "r1", "p21", (new, old))]
    content = pack_shard(said, modality="prompt", task="text-generation", epoch="e1")
    repo = Repo(f"{name}-ratings", "dataset")
    hub.create_repo(repo)
    path = shard_path("ada/space", "e1", 1, len(said), content)
    sha = hub.commit(repo, Changes({path: content}), message="x", run_id="x").commit_sha
    return PinnedRepo(repo.repo_id, "dataset", "main", sha)


def test_run_when_people_compared_models_then_their_win_rates_are_told(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    ratings = push_ratings(hub, name)
    of = asked(name, collect__ratings=ratings.repo_id)
    (found,) = results(
        evaluated(tmp_path, hub, of, new=GOOD, base=BAD, ratings=ratings)
    ).writing.crowd
    assert (found["model"], found["rival"]) == (f"{name}@{'2' * 40}", f"{name}@{'1' * 40}")
    assert (found["wins"], found["ties"], found["losses"]) == (12, 1, 1)
    assert (found["pairs"], found["raters"]) == (14, 12)
    assert found["value"] == pytest.approx(12.5 / 14)
    assert 0.5 < found["low"] < found["value"] <= found["high"]


def test_run_when_new_ratings_came_then_measures_again_and_otherwise_not(
    tmp_path: Path, hub: Hub, name: str, task: FakeWriter
) -> None:
    ratings = push_ratings(hub, name)
    of = asked(name, collect__ratings=ratings.repo_id)
    made = evaluated(tmp_path, hub, of, new=GOOD, base=BAD, ratings=ratings)
    calls = len(task.calls)
    again = evaluate.run(of, tmp_path / "round", hub)
    assert (again.digest, len(task.calls)) == (made.digest, calls)
    pins = json.loads((tmp_path / "round" / "pins.json").read_text())
    pins["datasets"][0]["commit_sha"] = hub.commit(
        Repo(ratings.repo_id, "dataset"), Changes({"NOTES.md": b"x"}), message="x", run_id="y"
    ).commit_sha
    (tmp_path / "round" / "pins.json").write_text(json.dumps(pins))
    assert evaluate.run(of, tmp_path / "round", hub).digest != made.digest
