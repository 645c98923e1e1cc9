"""The card says what the results say, in forms that the Hub's own client reads back."""

import math
import re
from dataclasses import replace
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from hub_trainer.cards import (
    BaseModel,
    CardLicence,
    LicenceDecision,
    Thumbnails,
    draft_card,
    eval_results,
    render_card,
)
from hub_trainer.cards.metadata import front_matter, metric_type
from hub_trainer.reports import FitReport
from tests.cards.evidence import (
    DATA_REPO,
    FIT,
    LABELS,
    PREPARED,
    SHAS,
    collected,
    estimate,
    facts,
    presentation,
    recipe,
    results,
)
from tests.cards.test_markdown import HOSTILE

SOUP = {
    "method": "greedy_soup",
    "metric": "accuracy",
    "parts": [
        {"step": 20, "score": 0.9, "taken": True},
        {"step": 1010, "score": 0.8, "taken": False},
    ],
    "score": 0.92,
    "kept": True,
}


@pytest.mark.parametrize(("kept", "told"), [(True, "; kept"), (False, ", and not kept")])
def test_training_when_a_soup_was_made_then_says_what_each_part_gave(kept: bool, told: str) -> None:
    fit = FitReport.from_json({**FIT, "fused": {**SOUP, "kept": kept}})
    card = render_card(facts(fit=fit))
    assert "greedy_soup: accuracy 0.9200 on validation rows, of 0.9000 at step 20, " in card
    assert "0.8000 at step 1,010 (left out); " in card
    assert told in card


HEADINGS = ["How to use", "How to rate", "Results", "Per label", "Confusion", "Examples"]
HEADINGS += ["Limits", "Training data", "Training", "Contributors", "Licence"]
NUMBER = re.compile(r"(?<![\w.])[+-]?\d\.\d{4}(?!\d)")


def numbers_of(value: Any) -> set[str]:
    """Every number in the results, as a card writes it."""
    if isinstance(value, bool) or value is None:
        return set()
    if isinstance(value, int | float):
        return {f"{value:.4f}", f"{value:+.4f}"}
    if isinstance(value, dict):
        return set().union(*(numbers_of(inner) for inner in value.values()))
    if isinstance(value, list):
        return set().union(*(numbers_of(inner) for inner in value))
    return set(NUMBER.findall(str(value)))


def table_under(card: str, heading: str) -> list[list[str]]:
    section = card.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_card_when_read_by_the_client_then_metadata_is_whole() -> None:
    data = ModelCard(render_card(facts())).data
    assert data.license == "apache-2.0"
    assert data.base_model == "ada/base"
    assert data.base_model_relation == "finetune"
    assert data.pipeline_tag == "text-classification"
    assert data.library_name == "transformers"
    assert data.datasets == [DATA_REPO]
    assert data.language == ["en"]
    assert data.metrics == ["accuracy", "f1"]
    assert data.tags == ["hub-trainer", "text-classification"]


def test_card_when_it_has_thumbnails_then_they_open_the_training_data() -> None:
    shown = Thumbnails(["a]b", "c|d"], 77, 4)
    text = render_card(facts(thumbnails=shown)).split("## Training data\n\n")[1]
    assert text.startswith(
        "![Up to 4 training rows of 2 of the 77 labels: a\\]b, c&#124;d](figures/examples.png)\n\n"
        "Up to 4 training rows of 2 of the 77 labels, chosen at random and under the licence of "
        "their dataset: a\\]b, c&#124;d.\n\n| dataset"
    )


def test_card_when_thumbnails_are_left_out_then_says_why() -> None:
    card = render_card(facts(thumbnails=Thumbnails(left_out="a/b is *new*")))
    assert "\n\nNo training rows are shown, because a/b is \\*new\\*.\n\n" in card
    assert "figures/examples.png" not in card
    assert "training rows are shown" not in render_card(facts())


def test_model_index_when_read_by_the_client_then_every_metric_equals_the_results() -> None:
    found = ModelCard(render_card(facts())).data.eval_results
    assert {result.metric_name: result.metric_value for result in found} == {
        name: value["value"] for name, value in results()["metrics"].items()
    }
    for result in found:
        assert result.dataset_type == DATA_REPO
        assert result.dataset_revision == SHAS[DATA_REPO]
        assert result.dataset_split == "test"
        interval = results()["metrics"][result.metric_name]
        assert result.metric_args["interval"]["low"] == interval["low"]
        assert result.metric_args["interval"]["high"] == interval["high"]


def test_card_when_parsed_back_then_every_number_is_one_of_the_results() -> None:
    body = _without_blocks(render_card(facts()).split("\n---\n", 1)[1])
    known = numbers_of(results()) | numbers_of(FIT)
    found = NUMBER.findall(body)
    assert len(found) > 30
    assert set(found) <= known


def test_results_table_when_parsed_back_then_models_stand_side_by_side() -> None:
    rows = table_under(render_card(facts()), "Results")
    assert [row[0] for row in rows] == ["**accuracy**", "f1_macro"]
    assert rows[0][1:] == [
        "0.9002 [0.8502, 0.9502]",
        "0.8123 [0.7623, 0.8623]",
        "0.5123 [0.4623, 0.5623]",
    ]


def test_label_table_when_parsed_back_then_each_label_has_its_numbers() -> None:
    rows = table_under(render_card(facts()), "Per label")
    assert [row[0] for row in rows] == [f"`{label}`" for label in LABELS]
    for row, entry in zip(rows, results()["per_label"], strict=True):
        assert row[1].startswith(f"{entry['precision']['value']:.4f} [")
        assert row[4] == str(entry["support"])


def test_card_when_whole_then_no_section_is_a_stub() -> None:
    card = render_card(facts())
    assert "More information needed" not in card
    assert "None" not in card
    assert "nan" not in card.lower().replace("finance", "")
    headings = re.findall(r"^## (.+)$", card, re.MULTILINE)
    assert headings == HEADINGS


def test_data_section_when_rows_were_left_out_then_counts_are_told() -> None:
    card = render_card(facts())
    for line in (
        "- Rows left out: empty 1.",
        "- Duplicates found: train: near 1.",
        "- Repeats across splits, kept out of training: 4 train rows repeat 2 test rows "
        "(3 exactly, 1 nearly); 1 train row repeats 1 validation row (1 nearly).",
        "- Rows with patterns of personal data: train: email 2.",
    ):
        assert line in card


def test_results_when_repeats_were_kept_then_nothing_is_claimed_of_them() -> None:
    assert "test examples, which no training row repeats;" in render_card(facts())
    kept = {**PREPARED, "leakage": {}}
    assert "no training row repeats" not in render_card(facts(prepared=kept))


def test_examples_when_a_row_has_personal_data_then_it_is_left_out() -> None:
    examples = [
        {"text": "write to jane.doe@example.com please", "reference": "a", "prediction": "a"},
        {"text": "where is my card", "reference": "a", "prediction": "b"},
    ]
    card = render_card(facts(results=results(examples=examples)))
    assert "jane" not in card
    assert "text: where is my card" in card
    assert "## Examples" not in render_card(facts(results=results(examples=examples[:1])))


def test_card_when_a_curve_was_drawn_then_it_is_shown() -> None:
    assert "figures/training.png" in render_card(facts(has_curve=True))
    assert "figures/training.png" not in render_card(facts())


def test_card_when_promoted_then_usage_names_the_tag() -> None:
    card = render_card(facts())
    assert 'load("ada/support-model", revision="round-2")' in card
    held = render_card(facts(results=results("hold")))
    assert 'load("ada/support-model", revision="main")' in held
    assert "held this model back" in held


def test_card_when_rejected_then_the_worse_slice_is_named() -> None:
    slices = [{"column": "label", "value": "top up", "change": -0.1, "regressed": True}]
    gate = {**results("reject")["gate"], "slices": slices}
    card = render_card(facts(results=results(gate=gate)))
    assert "**rejected** this model" in card
    assert "Worse than the published model where `label` = `top up`: -0.1000." in card


def test_card_when_first_round_then_nothing_is_said_of_a_published_model() -> None:
    first = results(published=None, comparison=None, base=None)
    card = render_card(facts(results=first, parent=None, base_model=None))
    assert "published before" not in card
    assert "It was trained from scratch on 300 examples" in card
    assert ModelCard(card).data.base_model is None
    assert len(table_under(card, "Results")[0]) == 2


def test_card_when_from_scratch_then_the_base_gave_its_shape_only() -> None:
    card = render_card(facts(base_model=BaseModel("ada/base", "b" * 40, None, "ada/base")))
    assert "trained from scratch in the shape of [ada/base]" in card
    assert ModelCard(card).data.base_model is None


def test_card_when_adapter_then_the_relation_says_so() -> None:
    card = render_card(facts(base_model=BaseModel("ada/base", "b" * 40, "adapter", "ada/base")))
    assert ModelCard(card).data.base_model_relation == "adapter"


def test_card_when_the_base_is_an_earlier_round_then_the_first_base_is_listed() -> None:
    earlier = BaseModel("ada/model", "b" * 40, "finetune", "ada/base")
    card = render_card(facts(base_model=earlier))
    assert ModelCard(card).data.base_model == "ada/base"
    assert "[ada/model]" in card
    unknown = BaseModel("ada/model", "b" * 40, "finetune", None)
    assert ModelCard(render_card(facts(base_model=unknown))).data.base_model is None


def test_limits_when_evidence_is_weak_then_each_is_named() -> None:
    fit = FitReport.from_json({**FIT, "resumed_from": 3, "bit_reproducible": False})
    licence = LicenceDecision("mit", "Asked for.", (), ("The dataset org/x names no licence.",))
    card = render_card(facts(fit=fit, licence=licence))
    for limit in (
        "The test set is small: 100 examples, too few to show a change below 0.0612",
        "Its probabilities are off by 0.0712 on average",
        "The weakest label is `top up`",
        "The training labels are unbalanced: 200 rows of `card arrival`, 40 of `top up`.",
        "Training was interrupted and resumed",
        "not bit-reproducible",
        "The dataset org/x names no licence.",
        "12 rows have a content that carries several labels.",
    ):
        assert card.count(limit) == 1, limit


def test_limits_when_evidence_is_strong_then_only_scope_and_weakest_label() -> None:
    strong = results(num_examples=5000, calibration={"ece": 0.01})
    for entry in strong["per_label"]:
        entry["support"] = 1600
    counts = {**PREPARED["counts"], "train": dict.fromkeys(LABELS, 100)}
    card = render_card(
        facts(results=strong, prepared={**PREPARED, "counts": counts, "warnings": []})
    )
    assert len(card.split("## Limits\n")[1].split("\n## ")[0].strip().splitlines()) == 2


def test_card_when_a_metric_is_undefined_then_it_is_said_and_not_indexed() -> None:
    undefined = {"value": math.nan, "low": math.nan, "high": math.nan}
    content = results()
    content["metrics"]["f1_macro"] = undefined
    card = render_card(facts(results=content))
    assert "| undefined |" in re.sub(" +", " ", card)
    assert [r.metric_name for r in ModelCard(card).data.eval_results] == ["accuracy"]
    content["metrics"]["accuracy"] = undefined
    assert eval_results(facts(results=content), date="2026-01-01") == {}


def test_card_when_no_label_is_confused_then_it_says_so() -> None:
    perfect = {"labels": LABELS, "counts": [[9, 0, 0], [0, 9, 0], [0, 0, 9]]}
    assert "No test example got a wrong label." in render_card(
        facts(results=results(confusion=perfect))
    )


def test_card_when_on_another_hub_then_links_stay_within_it() -> None:
    card = render_card(facts(presentation=presentation(endpoint="http://127.0.0.1:5000")))
    assert "huggingface.co" not in card
    assert "127.0.0.1" not in card
    assert "](/datasets/ada/support-data/tree/" in card


def test_eval_results_when_parsed_by_the_client_then_the_primary_metric_at_its_sha() -> None:
    ((path, content),) = eval_results(facts(), date="2026-11-23").items()
    (entry,) = parse_eval_result_entries(yaml.safe_load(content))
    assert path == ".eval_results/support-data.yaml"
    assert entry.dataset_id == DATA_REPO
    assert entry.task_id == "default"
    assert entry.dataset_revision == SHAS[DATA_REPO]
    assert entry.value == results()["metrics"]["accuracy"]["value"]
    assert entry.date == "2026-11-23"
    assert entry.notes == ("accuracy; 95 % interval 0.8502 to 0.9502; 100 examples of split test")


def test_eval_results_when_rows_were_held_back_then_the_notes_say_so() -> None:
    only_train = collected(SHAS)
    only_train["datasets"] = only_train["datasets"][:1]
    ((_, content),) = eval_results(facts(collected=only_train), date="2026-11-23").items()
    (entry,) = parse_eval_result_entries(yaml.safe_load(content))
    assert "100 examples held back from training (0.2 of the rows, by content)" in entry.notes


def test_draft_card_when_read_by_the_client_then_it_is_valid() -> None:
    data = ModelCard(draft_card(recipe(), CardLicence(("mit",)), ("x",))).data
    assert (data.license, data.pipeline_tag, data.tags) == (
        "mit",
        "text-classification",
        ["hub-trainer", "x"],
    )


hostile = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=40))


@settings(deadline=None)
@given(hostile, hostile, hostile)
def test_card_when_data_is_hostile_then_metadata_and_sections_stand(
    label: str, text: str, person: str
) -> None:
    labels = [label, "other one"]
    entries = [{**entry, "label": label} for entry in results()["per_label"]]
    content = results(
        per_label=entries,
        confusion={"labels": labels, "counts": [[3, 2], [1, 4]]},
        examples=[{"text": text, "reference": label, "prediction": label}],
    )
    content["gate"]["reasons"] = [f"label = {label}: worse"]
    counts = {split: {label: 9, "other one": 1} for split in ("train", "test")}
    prepared = {**PREPARED, "label_names": labels, "counts": counts}
    sources = collected(SHAS)
    sources["datasets"] = [{**entry, "license": text} for entry in sources["datasets"]]
    card = render_card(
        facts(
            results=content,
            prepared=prepared,
            collected=sources,
            licence=LicenceDecision("mit", text, (), (text,)),
            thumbnails=Thumbnails([text], 2, 4),
            presentation=presentation(contributors=[person], languages=[text]),
        )
    )
    read = ModelCard(card)
    assert read.data.license == "mit"
    assert read.data.datasets == [DATA_REPO]
    assert read.data.language in (None, [text])
    assert "## Licence" in read.text
    outside = _without_blocks(read.text)
    _assert_inert(read.text)
    assert not re.search(r"@\w", card)
    assert not re.search(r"<[a-zA-Z!/]", outside)
    targets = re.findall(r"(?<!\\)\]\(([^)]*)\)", outside)
    assert all(re.match(r"https://huggingface\.co/|figures/", target) for target in targets)
    assert len(re.findall(r"^# ", outside, re.MULTILINE)) == 1
    headings = re.findall(r"^## (.+)$", outside, re.MULTILINE)
    assert [heading for heading in HEADINGS if heading in headings] == headings
    assert set(HEADINGS) - set(headings) <= {"Examples"}


def _assert_inert(text: str) -> None:
    """A Markdown parser finds no HTML, and no link or picture but ours."""
    for block in MarkdownIt("commonmark").enable("table").parse(text):
        for token in [block, *(block.children or [])]:
            assert token.type not in ("html_block", "html_inline")
            target = str(token.attrs.get("href", token.attrs.get("src", "figures/")))
            assert target.startswith(("https://huggingface.co/", "figures/"))


def _without_blocks(text: str) -> str:
    """The text outside code blocks, read as CommonMark reads fences."""
    kept, closing = [], None
    for line in text.split("\n"):
        ticks = re.match(r"^(`{3,})(.*)$", line)
        if closing is None and ticks:
            closing = ticks.group(1)
        elif closing and re.fullmatch(rf"`{{{len(closing)},}}\s*", line):
            closing = None
        elif closing is None:
            kept.append(line)
    assert closing is None
    return "\n".join(kept)


@pytest.mark.parametrize("verdict", ["promote", "hold", "reject"])
def test_card_when_any_verdict_then_it_is_said_in_words(verdict: str) -> None:
    assert "The gate **" in render_card(facts(results=results(verdict)))


def test_summary_when_test_rows_have_their_own_repo_then_only_the_training_repo_is_named() -> None:
    made = facts()
    entry = made.datasets[0]
    sealed = replace(entry, repo_id="org/sealed", role="test")
    datasets = [replace(entry, role="train"), sealed]
    card = render_card(replace(made, collected=replace(made.collected, datasets=datasets)))
    summary = card.partition("\n# ")[2].split("## ")[0]
    assert f"examples of {entry.repo_id}." in summary
    assert "org/sealed" not in summary


def test_card_when_metrics_are_of_one_label_then_it_says_of_which_one() -> None:
    measured = {"metrics": ["auroc", "sensitivity", "brier"], "primary": "auroc"}
    found = facts(
        recipe=recipe(evaluate={**measured, "positive": "top | up"}),
        results=results(
            metrics={"auroc": estimate(0.9), "sensitivity": estimate(0.8), "brier": estimate(0.1)},
            published=None,
            base=None,
            primary="auroc",
        ),
    )
    card = render_card(found)
    assert "against all others: auroc and sensitivity." in card
    assert [row[0] for row in table_under(card, "Results")] == [
        *("**auroc**", "sensitivity", "brier, lower is better")
    ]
    (entry,) = front_matter(found)["model-index"]
    metrics = {one["name"]: one for one in entry["results"][0]["metrics"]}
    assert {name: one["type"] for name, one in metrics.items()} == {
        "auroc": "roc_auc",
        "sensitivity": "sensitivity",
        "brier": "brier_score",
    }
    named = {name: one["args"].get("pos_label") for name, one in metrics.items()}
    assert named == {"auroc": "top | up", "sensitivity": "top | up", "brier": None}
    assert "average" not in metrics["auroc"]["args"]


def test_metrics_when_of_numbers_then_have_the_names_that_the_hub_knows() -> None:
    assert [metric_type(name) for name in ("pearson", "spearman", "mae", "f1_macro")] == [
        *("pearsonr", "spearmanr", "mae", "f1")
    ]


REACHED = {
    "name": "top | up",
    "sensitivity": estimate(0.8),
    "specificity": estimate(0.9),
    "num_positive": 40,
    "num_negative": 60,
}
CHOSEN = {**REACHED, "threshold": 0.125, "wanted": 0.95, "sensitivity": estimate(0.96, 0.02)}


def test_card_when_a_threshold_decides_then_says_what_was_wanted_and_what_it_reaches() -> None:
    of_a = {"column": "site", "value": "x", **REACHED}
    found = results(positive=REACHED, positive_slices=[of_a] * 41)
    made = facts(fit=FitReport.from_json({**FIT, "threshold": CHOSEN}), results=found)
    card = render_card(made)
    parts = table_under(card, "Slices")
    shown = ["40", "0.8000 [0.7500, 0.8500]", "60", "0.9000 [0.8500, 0.9500]"]
    assert parts == [["`site`", "`x`", *shown]] * 40
    assert "Parts that are not shown: 1." in card
    section = card.split("## Decision")[1].split("\n## ")[0]
    assert "where the probability of that is 0.1250 or more" in section
    assert "at which 95% of the validation rows with the label are given it" in section
    assert "compare that of" in section
    rows = table_under(card, "Decision")
    assert rows[0] == ["sensitivity", "0.95", "0.9600 [0.9400, 0.9800]", "0.8000 [0.7500, 0.8500]"]
    assert rows[1][2:] == ["0.9000 [0.8500, 0.9500]"] * 2
    assert [row[2:] for row in rows[2:]] == [["40", "40"], ["60", "60"]]
    assert "- Its sensitivity on the sealed rows, 0.8000 [0.7500, 0.8500], is surely below" in card
    assert "## Decision" not in render_card(facts(results=results(positive=REACHED)))


def test_card_when_a_tables_threshold_decides_then_says_who_applies_it() -> None:
    changes: dict[str, Any] = {
        "fit": FitReport.from_json({**FIT, "steps": None, "threshold": CHOSEN}),
        "presentation": presentation(library_name="sklearn"),
        "recipe": recipe(task="tabular-classification", base_model=None),
        "results": results(
            positive={**REACHED, "sensitivity": estimate(0.94)},
            validation={"metrics": {"accuracy": estimate(0.93)}, "num_examples": 15},
        ),
    }
    three = render_card(facts(**changes))
    assert "`predict` of the model in `model.skops` names the likeliest label" in three
    assert "held back from training; only the threshold was chosen by them" in three
    assert "surely below" not in three
    two = render_card(facts(**changes, prepared={**PREPARED, "label_names": LABELS[:2]}))
    assert "`predict` of the model in `model.skops` decides so" in two


def test_card_when_columns_were_exchanged_then_says_what_each_is_worth_and_warns() -> None:
    columns = [
        {"column": "grade | final", **estimate(0.41), "share": 0.97},
        *({"column": f"c{n}", **estimate(0.01), "share": 0.01} for n in range(24)),
    ]
    found = {"measure": "the probability of the right answer", "num_rows": 100, "repeats": 5}
    leak = {"column": "grade | final", "share": 0.97}
    leaking = {**found, "columns": columns, "leak": leak}
    told = render_card(facts(results=results(importance=leaking)))
    section = told.split("## Columns\n")[1].split("\n## ")[0]
    assert "![What is lost without each column](figures/importance.png)" in section
    assert "What is lost of the probability of the right answer when" in section
    assert "5 columns that are worth less are not shown." in section
    assert section.count("| `c") == 19
    assert "0.4100 [0.3600, 0.4600]" in section
    assert "alone explains 97% of what it tells: if that column is made from the answer" in told
    plain = {**found, "columns": columns[1:3], "leak": None}
    innocent = render_card(facts(results=results(importance=plain)))
    assert "alone explains" not in innocent
    assert "are not shown" not in innocent
