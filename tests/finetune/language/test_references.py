from pathlib import Path
from typing import Any

import pytest
import torch

from hub_trainer.finetune.language import references
from hub_trainer.finetune.language.packing import Packing
from hub_trainer.finetune.language.references import score_rows, with_references
from tests.finetune.language.test_scoring import alone
from tests.finetune.language.tiny import llama, token_rows

ROWS = token_rows([(3, 4, 2), (5, 9, 7), (3, 1, 30)])


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many parts the model has read."""
    parts, real = [], references.answer_log_probs

    def counted(*args: Any) -> torch.Tensor:
        parts.append(1)
        return real(*args)

    monkeypatch.setattr(references, "answer_log_probs", counted)
    return parts


@pytest.mark.parametrize("packing", [Packing(20), Packing(1000), Packing(40, dense=False)])
def test_scores_are_those_of_each_answer_alone(packing: Packing) -> None:
    model = llama().train()
    found = score_rows(model, ROWS, packing)
    assert model.training
    for row, scores in zip(ROWS, found, strict=True):
        expected = [alone(model, row["prompt"], answer) for answer in row["answers"]]
        assert scores.tolist() == pytest.approx(expected, abs=1e-4)


def test_references_are_computed_once(tmp_path: Path, runs: list[int]) -> None:
    first = with_references(llama(), ROWS, Packing(1000), tmp_path)
    assert len(runs) == 1
    again = with_references(llama(), ROWS, Packing(1000), tmp_path)
    assert len(runs) == 1
    assert again == first
    assert len(first[0]["reference"]) == 2


@pytest.mark.parametrize("change", ["model", "rows"])
def test_another_model_or_other_rows_are_computed_anew(
    change: str, tmp_path: Path, runs: list[int]
) -> None:
    with_references(llama(), ROWS, Packing(1000), tmp_path)
    model = llama(seed=1) if change == "model" else llama()
    rows = token_rows([(3, 4, 2)]) if change == "rows" else ROWS
    with_references(model, rows, Packing(1000), tmp_path)
    assert len(runs) == 2
    assert len(list(tmp_path.iterdir())) == 2


def test_broken_file_is_computed_anew(tmp_path: Path, runs: list[int]) -> None:
    first = with_references(llama(), ROWS, Packing(1000), tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:20])
    assert with_references(llama(), ROWS, Packing(1000), tmp_path) == first
    assert len(runs) == 2


def test_mismatched_answers_have_references_of_their_own(tmp_path: Path) -> None:
    model = llama().eval()
    rows = [{**row, "mismatched": [9, 8]} for row in token_rows([(3, 4), (2, 2)])]
    found = with_references(model, rows, Packing(1000), tmp_path)
    for row in found:
        expected = alone(model, row["prompt"], [9, 8])
        assert row["mismatched_reference"] == pytest.approx(expected, abs=1e-4)
