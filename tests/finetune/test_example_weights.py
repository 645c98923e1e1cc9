import pytest

from hub_trainer.finetune.example_weights import example_weights, positive_weights

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


def test_positive_weights_are_rows_without_a_label_for_each_with_it() -> None:
    targets = [[1.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
    assert positive_weights(targets) == (3.0, 1.0, 1.0)
