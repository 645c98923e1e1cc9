"""Metadata for machines: the card's front matter with its model-index, and .eval_results files."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from hub_trainer.cards.facts import CardFacts
from hub_trainer.cards.licences import CardLicence
from hub_trainer.cards.markdown import one_line
from hub_trainer.cards.writing import training_tags
from hub_trainer.recipe import Recipe
from hub_trainer.stats import readable

TAG = "hub-trainer"
AVERAGES = ("macro", "micro", "weighted")
HUB_NAMES: Mapping[str, str] = {
    "auroc": "roc_auc",
    "brier": "brier_score",
    "calibration_error": "expected_calibration_error",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
}
_LANGUAGE = re.compile(r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$|^(code|multilingual)$")


def front_matter(facts: CardFacts) -> dict[str, Any]:
    """The card's metadata, as the Hub reads it."""
    metadata = draft_front_matter(facts.recipe, facts.licence.in_card, facts.presentation.tags)
    metadata["tags"] = sorted({*metadata["tags"], *training_tags(facts)})
    metadata["library_name"] = facts.presentation.library_name
    if facts.base_model and facts.base_model.relation and facts.base_model.origin:
        metadata["base_model"] = facts.base_model.origin
        metadata["base_model_relation"] = facts.base_model.relation
    languages = sorted(code for code in facts.presentation.languages if _LANGUAGE.match(code))
    metadata |= {"language": languages} if languages else {}
    metadata["model-index"] = [{"name": _short(facts.repo_id), "results": [_index_entry(facts)]}]
    return metadata


def draft_front_matter(recipe: Recipe, licence: CardLicence, tags: Sequence[str]) -> dict[str, Any]:
    """What is known of the metadata before training, for a check that the Hub will take it."""
    return {
        **licence.front_matter(),
        "pipeline_tag": recipe.task,
        "datasets": sorted({source.repo_id for source in recipe.collect.datasets}),
        "metrics": sorted({metric_type(metric) for metric in recipe.evaluate.metrics}),
        "tags": sorted({TAG, *tags}),
    }


def to_yaml(content: Any) -> str:
    """YAML in which every value stays on its line and a string cannot end the document."""
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=10_000)


def eval_results(facts: CardFacts, *, date: str) -> dict[str, bytes]:
    """`.eval_results/<dataset>.yaml`: the primary metric on the sealed examples.

    A benchmark's task has one value, so the other metrics stand in the model-index alone.
    """
    primary = facts.results.primary
    estimate = facts.results.metrics[primary]
    if not math.isfinite(estimate["value"]):
        return {}
    source = facts.test_sources[0]
    dataset = {"id": source.repo_id, "task_id": source.config or "default"}
    notes = f"{primary}; {interval_note(estimate)}; {_examples_note(facts)}"
    entry = {
        "dataset": {**dataset, "revision": source.commit_sha},
        "value": estimate["value"],
        "date": date,
        "notes": one_line(notes, 400),
    }
    path = f".eval_results/{_short(source.repo_id)}.yaml"
    return {path: to_yaml([entry]).encode()}


def interval_note(estimate: Mapping[str, Any]) -> str:
    """The interval of a metric in words."""
    share = round(100 * float(estimate.get("confidence", 0.95)))
    return f"{share} % interval {readable(estimate['low'])} to {readable(estimate['high'])}"


def metric_type(metric: str) -> str:
    """The Hub's name of a metric: f1 for f1_macro, roc_auc for auroc."""
    if metric in HUB_NAMES:
        return HUB_NAMES[metric]
    name, _, average = metric.rpartition("_")
    return name if average in AVERAGES else metric


def _index_entry(facts: CardFacts) -> dict[str, Any]:
    task = {"type": facts.recipe.task, "name": facts.recipe.task.replace("-", " ").capitalize()}
    return {
        "task": task,
        "dataset": _index_dataset(facts),
        "metrics": list(_index_metrics(facts)),
    }


def _index_dataset(facts: CardFacts) -> dict[str, Any]:
    source = facts.test_sources[0]
    name = " + ".join(sorted({one.repo_id for one in facts.test_sources}))
    dataset = {"name": name, "type": source.repo_id}
    dataset |= {"config": source.config} if source.config else {}
    dataset |= {"split": one_line(source.split), "revision": source.commit_sha}
    return dataset


def _index_metrics(facts: CardFacts) -> Iterator[dict[str, Any]]:
    of_one = facts.positive_metrics
    for metric, estimate in facts.results.metrics.items():
        if not math.isfinite(estimate["value"]):
            continue
        kind = metric_type(metric)
        average = metric.removeprefix(kind).lstrip("_") if metric.startswith(kind) else ""
        interval = {key: estimate[key] for key in ("low", "high")}
        interval["confidence"] = estimate.get("confidence", 0.95)
        yield {
            "type": kind,
            "name": metric,
            "value": estimate["value"],
            "args": {
                **({"average": average} if average else {}),
                **({"pos_label": facts.recipe.evaluate.positive} if metric in of_one else {}),
                "interval": interval,
            },
        }


def _examples_note(facts: CardFacts) -> str:
    count = facts.results.num_examples
    if facts.test_sources[0].role == "test":
        return f"{count} examples of split {facts.test_sources[0].split}"
    fraction = facts.recipe.prepare.test_fraction
    return f"{count} examples held back from training ({fraction:g} of the rows, by content)"


def _short(repo_id: str) -> str:
    return repo_id.rpartition("/")[2]
