"""The card tells a search as it is: what was tried and chosen, by a score that is no result."""

from typing import Any

from hub_trainer.cards import render_card
from hub_trainer.reports import TuneReport
from tests.cards.evidence import facts, recipe

FOUND: dict[str, Any] = {
    "metric": "accuracy",
    "score": 0.91234,
    "written_score": 0.875,
    "search": {
        "train.arguments.learning_rate": {"low": 1e-5, "high": 1e-3, "log": True},
        "train.arguments.num_train_epochs": {"low": 1, "high": 5, "step": 2},
        "train.method": {"choices": ["head", "full"]},
    },
    "chosen": {
        "train.arguments.learning_rate": 0.00012345,
        "train.arguments.num_train_epochs": 3,
        "train.method": "head",
    },
    "importances": {"train.arguments.learning_rate": 0.81, "train.method": 0.12},
    "best_trial": 4,
    "trials": {"done": 9, "pruned": 2, "failed": 0, "cut_off": 1},
    "seconds": 12.0,
}


def test_card_when_settings_were_searched_then_a_table_says_what_was_chosen() -> None:
    card = render_card(facts(recipe=recipe(), tune=TuneReport.from_json(FOUND)))
    section = card.partition("## Search over settings")[2].partition("\n## ")[0]
    lines = [" ".join(line.split()) for line in section.splitlines()]
    assert (
        "| `train.arguments.learning_rate` | 1e-05 to 0.001, log scale | 0.000123 | 81% |" in lines
    )
    assert "| `train.arguments.num_train_epochs` | 1 to 5, step 2 | 3 | unknown |" in lines
    assert "| `train.method` | head, full | head | 12% |" in lines
    assert "9 done, 2 pruned, as they fell behind the median of the others, 1 cut off" in section
    assert "accuracy 0.9123 on the validation rows" in section
    assert ", where the recipe as it is scored 0.8750: the validation score" in section
    assert "the validation score that chose, not a measurement" in section
    assert "| method" in card
    assert "head: only the head learned" in card


def test_card_when_the_recipe_was_best_then_it_says_that_its_own_settings_stay() -> None:
    found = TuneReport.from_json({**FOUND, "chosen": {}, "best_trial": None, "score": 0.95})
    card = render_card(facts(recipe=recipe(), tune=found))
    assert card.count("| the recipe's own") == 3


def test_card_when_nothing_was_searched_then_it_has_no_such_section() -> None:
    assert "Search over settings" not in render_card(facts())
