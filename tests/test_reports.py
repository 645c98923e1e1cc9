"""What stages hand on is read back as it was written, and as earlier versions wrote it."""

import json
from pathlib import Path
from typing import Any

import pytest

from hub_trainer.reports import CollectReport, DatasetReport, FitReport, PrepareReport, Results

OLD = Path(__file__).parent / "reports_of_old"
"""results.json, and the outputs of collect and prepare, as earlier versions wrote them."""

EARLIER = {
    "method": "full",
    "rows": 300,
    "tokens": None,
    "seconds": 12.5,
    "rows_per_second": 24.0,
    "tokens_per_second": None,
    "peak_mb": 812.0,
    "trainable_parameters": 5123,
    "epochs": 3.0,
    "num_processes": 1,
    "a_field_of_then": 1,
}
"""fit.json of a first version: fewer fields, and one that is no more."""


def test_report_when_written_and_read_then_the_same() -> None:
    report = FitReport.from_json({**EARLIER, "notes": ["a note"], "history": [{"step": 1}]})
    written = json.loads(json.dumps(report.to_json()))
    assert FitReport.from_json(written) == report
    assert "history" not in report.summary()
    assert report.summary()["notes"] == ["a note"]


def test_report_when_of_an_earlier_version_then_read() -> None:
    report = FitReport.from_json(EARLIER)
    assert (report.rows, report.notes, report.history, report.steps) == (300, (), [], None)


def old_results(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((OLD / f"{name}.json").read_text())
    return content


@pytest.mark.parametrize("name", ["results_v2_label", "results_v2_writing"])
def test_results_when_of_form_2_then_every_figure_is_kept(name: str) -> None:
    content = old_results(name)
    found = Results.from_json(content)
    plain = found.to_json()
    for key in ("metrics", "published", "primary", "num_examples", "gate", "examples", "baselines"):
        assert plain[key] == content[key], key
    assert {key: plain["comparison"][key] for key in content["comparison"]} == content["comparison"]
    assert found.verdict == content["gate"]["verdict"]
    assert Results.from_json(json.loads(json.dumps(plain))) == found


def test_results_when_of_form_2_then_what_only_one_kind_has_is_in_its_place() -> None:
    content = old_results("results_v2_label")
    found = Results.from_json(content)
    assert (found.answer, found.writing) == ("label", None)
    assert found.detail == {key: content[key] for key in ("per_label", "confusion", "calibration")}
    assert found.validation.num_examples == content["validation"]["num_examples"]
    content = old_results("results_v2_writing")
    found = Results.from_json(content)
    assert (found.answer, found.detail) == ("completion", {})
    assert found.writing is not None
    for key in ("sampling", "answers", "num_scored", "win_rate", "crowd"):
        assert getattr(found.writing, key) == content[key], key
    assert found.base is not None
    assert found.base.metrics == content["base"]["metrics"]


def test_results_when_written_before_completions_had_a_name_then_they_get_it() -> None:
    plain = Results.from_json(old_results("results_v2_writing")).to_json()
    assert Results.from_json({**plain, "answer": None}).answer == "completion"


def test_results_when_of_form_1_then_the_base_model_is_its_only_baseline() -> None:
    content = old_results("results_v2_label")
    base = {"description": "nearest mean embedding", "metrics": content["metrics"]}
    first = {key: value for key, value in content.items() if key not in ("baselines", "answer")}
    found = Results.from_json({**first, "base": base})
    assert [one.name for one in found.baselines] == ["base"]
    assert found.base is not None
    assert found.base.description == "nearest mean embedding"
    assert found.answer == "label"
    assert Results.from_json({**first, "base": None}).baselines == []


def test_collected_when_of_an_earlier_version_then_every_entry_is_kept() -> None:
    content = old_results("collect_v1")
    assert not {"left_out", "first_left_out"} & content.keys()
    found = CollectReport.from_json(content)
    assert (found.left_out, found.first_left_out) == ({}, {})
    plain = json.loads(json.dumps(found.to_json()))
    assert {key: plain[key] for key in content} == content
    assert CollectReport.from_json(plain) == found
    (first, *_) = found.datasets
    assert isinstance(first, DatasetReport)
    assert (first.role, first.rows, first.hub_id) == ("train", content["datasets"][0]["rows"], None)


def test_prepared_when_of_an_earlier_version_then_every_figure_is_kept() -> None:
    content = old_results("prepare_v1")
    assert not {"left_out", "losses"} & content.keys()
    found = PrepareReport.from_json(content)
    assert (found.left_out, found.losses) == ({}, ())
    plain = json.loads(json.dumps(found.to_json()))
    assert {key: plain[key] for key in content} == content
    assert PrepareReport.from_json(plain).rows == content["rows"]


def test_dataset_when_its_repo_is_known_then_that_is_written_and_else_it_is_not() -> None:
    plain = DatasetReport("ada/data", "c" * 40, rows=3)
    assert not {"hub_id", "owner"} & plain.to_json().keys()
    known = DatasetReport("ada/data", "c" * 40, rows=3, hub_id="6", owner="ada")
    assert DatasetReport.from_json(json.loads(json.dumps(known.to_json()))) == known
