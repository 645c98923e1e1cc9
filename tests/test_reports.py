"""What stages hand on is read back as it was written, and as earlier versions wrote it."""

import json

from hub_trainer.reports import FitReport

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
