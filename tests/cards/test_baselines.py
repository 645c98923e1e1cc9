"""The card says what is reached without training, and everything that the recipe asked for."""

from typing import Any

import pytest

from hub_trainer.cards import LicensedWork, decide_licence, render_card
from hub_trainer.reports import FitReport
from tests.cards.evidence import FIT, estimate, facts, presentation, recipe, results

BASELINES = [
    {
        "name": name,
        "description": f"how {name} answers",
        "metrics": {"accuracy": estimate(value), "f1_macro": estimate(value / 2)},
    }
    for name, value in (("constant", 0.34), ("base", 0.51), ("probe", 0.77))
]


def card(**changes: Any) -> str:
    return render_card(facts(**changes))


def test_card_when_there_are_baselines_then_each_has_a_column_with_intervals() -> None:
    found = results(
        baselines=BASELINES,
        validation={"metrics": {"accuracy": estimate(0.93)}, "num_examples": 15},
        published=None,
        comparison=None,
    )
    text = card(results=found)
    header = next(line for line in text.splitlines() if line.startswith("| metric"))
    names = [cell.strip() for cell in header.strip("|").split("|")]
    assert names[2:] == ["constant answer", "base model as it is", "cheap probe", "validation"]
    row = next(line for line in text.splitlines() if "**accuracy**" in line)
    for value in ("0.3400 [0.2900, 0.3900]", "0.7700 [0.7200, 0.8200]", "0.9300"):
        assert value in row
    assert "- cheap probe: how probe answers." in text
    assert "the 15 rows that chose the checkpoint" in text
    table = card(results=found, fit=FitReport.from_json({**FIT, "steps": None}))
    assert "the 15 rows that were held back from training; nothing was chosen" in table
    assert "beside 0.3400 [0.2900, 0.3900] of the constant answer, 0.5100" in text


def test_card_when_results_are_of_an_earlier_version_then_the_base_model_has_its_column() -> None:
    text = card()
    assert "base model as it is" in text
    assert "- base model as it is: the label whose training rows have the nearest mean" in text
    assert "| base |" not in text


def test_card_when_a_recipe_was_written_then_all_of_it_stands_there_and_no_default() -> None:
    of = recipe(gate={"alpha": 0.05}, prepare={"clean": True, "test_fraction": 0.3})
    section = (
        card(recipe=of).split("The recipe, as far as it was written:")[1].split("Packages:")[0]
    )
    for told in ("alpha: 0.05", "clean: true", "test_fraction: 0.3", "learning_rate: 0.0002"):
        assert told in section
    assert "min_slice_change" not in section


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "| estimator | hist_gradient_boosting |"),
        ({"max_iter": 200, "l2_regularization": 1.0}, "(max_iter=200, l2_regularization=1.0) |"),
    ],
)
def test_card_when_the_model_is_of_a_table_then_its_estimator_is_named(
    arguments: dict[str, Any], told: str
) -> None:
    of = recipe(train={"method": "full", "estimator_arguments": arguments})
    shown = presentation(estimator="hist_gradient_boosting")
    text = card(recipe=of, presentation=shown)
    assert told in " ".join(text.replace("\\", "").split())
    assert "all parameters learned" not in text


def test_licence_when_a_source_needs_a_person_then_it_is_not_said_to_suit_all() -> None:
    works = [LicensedWork("base model", "a/b", ("mit",)), LicensedWork("dataset", "a/c", ("odd",))]
    found = decide_licence(None, works)
    assert "suits every source" not in found.reason
    assert "for a person to judge" in found.reason
    assert "suits every source" in decide_licence(None, works[:1]).reason
