"""How likely a model finds both answers of a pair, against plain transformers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from hub_trainer.answers import Preference
from hub_trainer.tasks import Asked, ModelFolders
from hub_trainer.tasks.text_generation import TASK
from tests.finetune.language.tiny import WITHOUT_TAGS
from tests.tasks.language import language_base, preferences, rows_of


def compared(folders: ModelFolders, rows: list[dict[str, Any]]) -> list[Preference | None]:
    asked = Asked(answered=(), paired=range(len(rows)))
    return [one.preference for one in TASK.predict(folders, rows, asked)]


@torch.no_grad()
def by_hand(folder: Path, prompt: str, answer: str) -> float:
    """One example, unpadded, by the library's own logits: the answer after its prompt."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    asked = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    said = tokenizer(answer, add_special_tokens=False)["input_ids"]
    logits = model(torch.tensor([asked + said])).logits[0].double().log_softmax(-1)
    return sum(float(logits[len(asked) + i - 1, token]) for i, token in enumerate(said))


def test_predict_when_pairs_are_plain_texts_then_as_plain_transformers_on_single_examples(
    tmp_path: Path,
) -> None:
    base = ModelFolders(language_base(tmp_path / "base"))
    raw = [
        {"prompt": f"{i}: ab", "chosen": " c" * i, "rejected": f" d{i}!" * (5 - i)}
        for i in range(1, 5)
    ]
    found = compared(base, rows_of(raw))
    for row, pair in zip(raw, found, strict=True):
        assert pair is not None
        for said, value in ((row["chosen"], pair.chosen), (row["rejected"], pair.rejected)):
            expected = by_hand(base.model, row["prompt"], said + "<|im_end|>")
            assert value == pytest.approx(expected, abs=1e-3)


def test_predict_when_pairs_are_dialogues_then_as_plain_transformers_on_single_examples(
    tmp_path: Path,
) -> None:
    base = ModelFolders(language_base(tmp_path / "base", template=WITHOUT_TAGS))
    raw = [
        {
            "prompt": [{"role": "user", "content": "ab" * i}],
            "chosen": [{"role": "assistant", "content": "yes" * i}],
            "rejected": [{"role": "assistant", "content": "no"}],
        }
        for i in range(1, 4)
    ]
    for row, pair in zip(raw, compared(base, rows_of(raw)), strict=True):
        asked = f"<|im_start|>user\n{row['prompt'][0]['content']}<|im_end|>\n"
        asked += "<|im_start|>assistant\n"
        said = [f"{row[side][0]['content']}<|im_end|>\n" for side in ("chosen", "rejected")]
        assert pair is not None
        assert [pair.chosen, pair.rejected] == pytest.approx(
            [by_hand(base.model, asked, one) for one in said], abs=1e-3
        )


def test_predict_when_an_answer_does_not_fit_whole_then_its_pair_is_not_compared(
    tmp_path: Path,
) -> None:
    base = ModelFolders(language_base(tmp_path / "base", max_length=24))
    raw = [
        {"prompt": "one", "chosen": " yes", "rejected": " no"},
        {"prompt": "two", "chosen": " yes", "rejected": " no" * 10},
    ]
    first, second = compared(base, rows_of(raw))
    assert first is not None
    assert second is None


def test_predict_when_only_some_are_to_be_compared_then_those_and_nothing_is_written(
    tmp_path: Path,
) -> None:
    base = ModelFolders(language_base(tmp_path / "base"))
    found = TASK.predict(base, preferences(3), Asked(answered=(), paired=[1]))
    assert [one.preference is not None for one in found] == [False, True, False]
    assert {(one.value, one.likelihood) for one in found} == {(None, None)}
