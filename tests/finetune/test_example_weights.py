import pytest

from hub_trainer.finetune.example_weights import example_weights

ROWS = [
    {"label": "a"},
    {"label": "a", "_weight": 2.0},
    {"label": "a", "_weight": None},
    {"label": "b"},
]


def test_example_weights_when_plain_then_are_those_of_the_rows() -> None:
    assert example_weights(ROWS, class_weights=False) == [1.0, 2.0, 1.0, 1.0]


def test_example_weights_when_levelled_then_each_label_weighs_the_same() -> None:
    weights = example_weights(ROWS, class_weights=True)
    assert weights == pytest.approx([0.625, 1.25, 0.625, 2.5])
    assert sum(weights) == pytest.approx(5.0)
