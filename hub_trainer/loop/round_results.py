"""Results of a round, from its folder or from its record on the Hub, in the same keys."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hub_trainer.artifacts import find_artifact
from hub_trainer.errors import HubError
from hub_trainer.hub import Hub, Repo
from hub_trainer.lineage import RoundRecord, load_pins, read_rounds
from hub_trainer.loop.start import Start, verified_repo
from hub_trainer.recipe import RecipeFile
from hub_trainer.reports import (
    CollectReport,
    FitReport,
    ModelPlace,
    PrepareReport,
    Results,
    RoundResult,
    TuneReport,
)
from hub_trainer.stats import readable

FIT_KEYS: tuple[str, ...] = (
    "method",
    "rows",
    "tokens",
    "seconds",
    "rows_per_second",
    "tokens_per_second",
)
FIT_KEYS += ("peak_mb", "trainable_parameters", "epochs", "num_processes")


def round_result(round_dir: Path) -> RoundResult:
    """What is known of the round in `round_dir`."""
    pins = load_pins(round_dir)
    assert pins is not None
    published, results = _outputs(round_dir, "publish"), _results(round_dir)
    fit = _outputs(round_dir, "train").get("fit")
    number = published.get("pull_request")
    found = RoundResult(
        round=pins.round,
        model=ModelPlace(
            published.get("repo_id"),
            published.get("commit_sha"),
            number,
            published.get("url") if number else None,
        ),
        verdict=published.get("verdict"),
        parent=pins.parent,
        round_dir=str(round_dir),
        left_out={
            stage: _outputs(round_dir, stage).get("left_out") for stage in ("collect", "prepare")
        },
        tune=_outputs(round_dir, "tune").get("tune"),
        train={key: fit.get(key) for key in FIT_KEYS} if fit else None,
    )
    if results is None:
        return found
    measured = results.to_json()
    return replace(
        found,
        verdict=found.verdict or results.verdict,
        reasons=results.gate.get("reasons", []),
        baselines=measured["baselines"],
        metrics=results.metrics,
        published=measured["published"],
        p_value=results.comparison.p_value if results.comparison else None,
        win_rate=(measured["writing"] or {}).get("win_rate"),
        primary=results.primary,
        num_examples=results.num_examples,
    )


def result_of_record(record: RoundRecord, hub: Hub | None = None) -> RoundResult:
    """A round read back from the Hub."""
    repo_id, number = record.recipe["publish"]["repo_id"], record.pull_request
    page = pull_request_page(hub, repo_id, number) if hub and number else None
    return RoundResult(
        round=record.round,
        model=ModelPlace(repo_id, record.commit_sha, number, page),
        verdict=record.verdict,
        reasons=record.gate.get("reasons", []),
        parent=record.parent,
        baselines=record.baselines,
        metrics=record.metrics,
        published=record.published,
        p_value=record.p_value,
        win_rate=(record.written or {}).get("win_rate"),
        primary=record.primary,
        num_examples=record.gate.get("num_examples"),
        tune=record.tune,
        train={key: record.train.get(key) for key in FIT_KEYS},
        created_at=record.created_at,
        datasets=[one.to_json() for one in record.datasets],
    )


def result_of_start(start: Start, hub: Hub) -> RoundResult:
    """The last round, when a run has found nothing new since."""
    assert start.record is not None
    found = begun_as(start, result_of_record(start.record, hub))
    return replace(found, round_dir=str(start.round_dir)) if start.is_here else found


def begun_as(start: Start, result: RoundResult) -> RoundResult:
    """The result of a run, with how it began."""
    return replace(result, start=start.kind, new=list(start.news.new) if start.news else [])


def read_status(
    recipe_file: RecipeFile, hub: Hub
) -> tuple[list[RoundRecord], list[RoundResult], HubError | None]:
    """All rounds, as records and as results, and what is wrong with their repo."""
    records, fault = read_rounds(hub, recipe_file.recipe.publish.repo_id), None
    try:
        verified_repo(recipe_file, hub)
    except HubError as error:
        fault = error
    return records, [result_of_record(record, hub) for record in records], fault


def pull_request_page(hub: Hub, repo_id: str, number: int) -> str:
    """Where a round that was not promoted can be looked at, and merged by hand."""
    return hub.discussion_page(Repo(repo_id), number)


def _outputs(round_dir: Path, stage: str) -> dict[str, Any]:
    artifact = find_artifact(round_dir / stage)
    return artifact.outputs if artifact else {}


def _results(round_dir: Path) -> Results | None:
    if not find_artifact(round_dir / "evaluate"):
        return None
    content = json.loads((round_dir / "evaluate" / "results.json").read_text())
    return Results.from_json(content)


def stage_summary(stage: str, outputs: Mapping[str, Any]) -> str:
    """What a stage has come to, in a few words for people."""
    if stage == "collect":
        rows: Counter[str] = Counter()
        for one in CollectReport.from_json(outputs).datasets:
            rows[one.role] += one.rows
        return _counted(rows)
    if stage == "prepare":
        return _counted(PrepareReport.from_json(outputs).rows)
    if stage == "tune":
        return _tuned(TuneReport.from_json(outputs["tune"]))
    if stage == "train":
        fit = FitReport.from_json(outputs["fit"])
        done = f"{fit.rows:,} rows fitted"
        if fit.steps:
            done = f"method {fit.method}, {fit.steps:,} steps, {fit.rows_per_second:,.0f} rows/s"
        return f"{done}{_threshold(fit.threshold)}"
    if stage == "evaluate":
        primary, verdict = outputs["primary"], outputs["gate"]["verdict"]
        value = outputs["metrics"][primary]["value"]
        examples = _examples(outputs["num_examples"], outputs.get("num_rows"))
        scored = outputs.get("num_scored")
        if scored is not None and scored < outputs["num_examples"]:
            examples = f"{scored:,} of {examples}"
        told = f"{primary} {readable(value)} on {examples}; the gate says {verdict}"
        return "; ".join([told, *(f"warning: {one}" for one in outputs.get("warnings") or ())])
    if stage == "publish":
        number = outputs["pull_request"]
        where = f"pull request {number}" if number else "main"
        return f"{where} of {outputs['repo_id']}, at {outputs['commit_sha'][:7]}"
    summary, url = (str(outputs.get(key) or "") for key in ("summary", "url"))
    return f"{summary.removesuffix('.')}: {url}" if summary and url else summary or url or "done"


def _threshold(chosen: Mapping[str, Any] | None) -> str:
    """What the threshold reaches on the validation rows."""
    if chosen is None:
        return ""
    value, low, high = (readable(chosen["sensitivity"][key]) for key in ("value", "low", "high"))
    return (
        f"; {chosen['name']} from probability {readable(chosen['threshold'])} on: sensitivity "
        f"{value} [{low}, {high}] on {chosen['num_positive']:,} such validation rows"
    )


def _tuned(tune: TuneReport) -> str:
    counts = [(state.replace("_", " "), count) for state, count in tune.trials.items() if count]
    tried = ", ".join(f"{count:,} {state}" for state, count in counts)
    found = ", ".join(f"{key.removeprefix('train.')} {_short(v)}" for key, v in tune.chosen.items())
    found = found or "no trial was better than the recipe as it is"
    return f"trials: {tried}; {found}, by {tune.metric} {readable(tune.score)} on validation rows"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _examples(count: int, num_rows: int | None) -> str:
    asked = f" ({num_rows:,} rows, each prompt asked once)" if (num_rows or 0) > count else ""
    return f"{count:,} sealed examples{asked}"


def _counted(rows: Mapping[str, int]) -> str:
    return f"{', '.join(f'{count:,} {split}' for split, count in rows.items())} rows"
