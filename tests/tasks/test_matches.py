"""Texts that belong together: the loss by plain arithmetic, masks, and what is learned."""

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from hub_trainer.errors import DataError
from hub_trainer.finetune.in_batch import InBatchObjective, match_data, matches_of, right_besides
from hub_trainer.finetune.sentence_pairs import LOWEST, RIGHT
from hub_trainer.finetune.similarity import line_of, new_encoder
from hub_trainer.finetune.tokenizers import load_tokenizer
from hub_trainer.recipe import Recipe
from hub_trainer.tasks import ModelFolders, Splits, task_of
from tests.tasks.factory import LABELS, WORDS, recipe, text_base

NAME = "sentence-similarity"


def pair(first: str, second: str, target: float = 1.0) -> dict[str, Any]:
    return {"text": first, "text_pair": second, "target": target, "_row_id": f"{first}|{second}"}


def rows(count: int, seed: int = 0, *, wrong: bool = True) -> list[dict[str, Any]]:
    """Texts that belong together share their colour; a wrong one has another."""
    rng, found = random.Random(seed), []
    for _ in range(count):
        color, other = rng.sample(LABELS, 2)

        def told(color: str) -> str:
            words = [*rng.choices(WORDS[:8], k=rng.randint(2, 6)), color]
            rng.shuffle(words)
            return " ".join(words)

        first = told(color)
        found.append(pair(first, told(color)))
        if wrong:
            found.append(pair(first, told(other), 0.0))
    return found


def settings(**changes: Any) -> Recipe:
    arguments = {
        "learning_rate": 0.003,
        "num_train_epochs": 8,
        "per_device_train_batch_size": 16,
        "report_to": "none",
    }
    return recipe(
        NAME,
        **{
            "evaluate__metrics": ["triplet_accuracy", "recall_at_1"],
            "evaluate__primary": "triplet_accuracy",
            "train__loss": "in_batch",
            "train__arguments": arguments,
            **changes,
        },
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_base(tmp_path_factory.mktemp("base"))


def test_loss_when_computed_by_plain_arithmetic_then_is_the_same() -> None:
    """minus log of the share of the own candidate, over all that are not right besides."""
    rng = np.random.default_rng(0)
    cosines = rng.uniform(-1, 1, size=(5, 8))
    besides = rng.random((5, 8)) < 0.3
    besides[np.arange(5), np.arange(5)] = False
    wanted = []
    for place in range(5):
        terms = {j: np.exp(20 * cosines[place, j]) for j in range(8) if not besides[place, j]}
        wanted.append(-np.log(terms[place] / sum(terms.values())))
    logits = torch.tensor(cosines).masked_fill(torch.tensor(besides), LOWEST)
    outputs, batch = SimpleNamespace(logits=logits), {"labels": torch.ones(5)}
    found = InBatchObjective().losses(outputs, batch)
    assert found.numpy() == pytest.approx(np.array(wanted), rel=1e-4, abs=1e-5)
    assert InBatchObjective().amounts(batch).tolist() == [1.0] * 5


def test_loss_when_sentence_transformers_is_there_then_is_its_own() -> None:
    losses = pytest.importorskip("sentence_transformers.losses")
    vectors = torch.nn.functional.normalize(torch.randn(15, 6), dim=1)
    parts = list(vectors.split(5))
    theirs = losses.MultipleNegativesRankingLoss(SimpleNamespace()).compute_loss_from_embeddings(
        parts, None
    )
    logits = parts[0] @ torch.cat(parts[1:]).T
    ours = InBatchObjective().losses(SimpleNamespace(logits=logits), {"labels": torch.ones(5)})
    assert float(ours.mean()) == pytest.approx(float(theirs), rel=1e-5)


def test_matches_when_a_text_has_wrong_ones_then_its_pairs_take_them_in_turn() -> None:
    found = matches_of(
        [pair("a", "x"), pair("a", "n", 0.0), pair("a", "y"), pair("a", "m", 0.0), pair("b", "z")],
        "target",
    )
    assert [(one.first, one.second, one.wrong) for one in found] == [
        ("a", "x", "n"),
        ("a", "y", "m"),
        ("b", "z", None),
    ]
    scored = matches_of([pair("a", "x", 4.8), pair("b", "y", 2.0), pair("c", "z", 0.1)], "target")
    assert [one.first for one in scored] == ["a"]


def test_mask_when_texts_repeat_in_a_batch_then_right_ones_are_not_held_wrong() -> None:
    matches = matches_of(
        [pair("a", "x"), pair("a", "y"), pair("b", "x"), pair("c", "a"), pair("a", "n", 0.0)],
        "target",
    )
    right = {"a": {"x", "y", "c"}, "x": {"a", "b"}, "y": {"a"}, "b": {"x"}, "c": {"a"}}
    found = right_besides(matches, right)
    # candidates: x, y, x, a, and the wrong text n of each pair of a
    assert found.shape == (4, 6)
    assert found.int().tolist() == [
        [0, 1, 1, 1, 0, 0],  # a: y is right too, x stands twice, a is itself
        [1, 0, 1, 1, 0, 0],
        [1, 0, 0, 0, 0, 0],  # b: x stands twice
        [0, 0, 0, 0, 0, 0],  # c: all but a are wrong
    ]


def test_cosines_when_a_batch_is_made_then_are_those_of_its_texts(base: Path) -> None:
    learned = rows(6)
    tokenizer = load_tokenizer(base, None)
    data = match_data(tokenizer, learned, learned[:4], "target")
    examples = [dict(data.train[place]) for place in range(6)]
    batch = dict(
        data.collate([{k: v for k, v in one.items() if k != "weight"} for one in examples])
    )
    model = new_encoder(base, from_weights=True, seed=0).eval()
    inputs = {k: v for k, v in batch.items() if k != "labels"}
    with torch.no_grad():
        logits = model(**inputs).logits

        def vector(text: str) -> torch.Tensor:
            return model.embed(dict(tokenizer([text], return_tensors="pt")))[0]

        matches = [one["match"] for one in examples]
        texts = [one.second for one in matches] + [one.wrong for one in matches]
        wanted = torch.stack(
            [torch.stack([vector(one.first) @ vector(text) for text in texts]) for one in matches]
        )
    assert logits.shape == (6, 12)
    assert torch.allclose(logits[~batch[RIGHT]], wanted[~batch[RIGHT]], atol=1e-5)
    assert data.validation is not None
    assert len(data.validation) == 2


@pytest.mark.parametrize("kind", ["triplets", "pairs", "adapter"])
def test_fit_when_pairs_have_no_number_then_texts_find_each_other(
    kind: str, base: Path, tmp_path: Path
) -> None:
    wrong = kind != "pairs"
    changes = {"train__method": "lora"} if kind == "adapter" else {}
    wanted = settings(**changes)
    task = task_of(wanted)
    task.answer.assert_taught({"train": [1.0, 1.0]})
    splits = Splits(rows(150, wrong=wrong), rows(30, seed=1, wrong=wrong), [])
    report = task.fit(
        splits, wanted, tmp_path, base=ModelFolders(base), progress=lambda share, doing: None
    )
    assert report.rows == 150
    asked = rows(80, seed=2)
    references = [row["target"] for row in asked]
    metrics = ["triplet_accuracy", "recall_at_1"]
    measured = []
    before = task.predict_base(splits, asked, ModelFolders(base))
    assert before is not None
    for found in (before.predictions, task.predict(ModelFolders(tmp_path / "model"), asked)):
        estimates = task.answer.estimates(metrics, references, found, [], seed=0)
        measured.append({name: estimate.value for name, estimate in estimates.items()})
    assert measured[1]["triplet_accuracy"] > max(0.9, measured[0]["triplet_accuracy"])


def test_fit_when_all_pairs_belong_together_then_cosines_are_told_as_they_are(
    base: Path, tmp_path: Path
) -> None:
    from transformers import AutoConfig

    wanted = settings(train__arguments={"num_train_epochs": 1, "report_to": "none"})
    task = task_of(wanted)
    splits = Splits(rows(20, wrong=False), rows(8, seed=1, wrong=False), [])
    task.fit(splits, wanted, tmp_path, base=ModelFolders(base), progress=lambda *_: None)
    line = line_of(AutoConfig.from_pretrained(tmp_path / "model"))
    assert line is not None
    assert (line.slope, line.intercept) == (1.0, 0.0)


def test_data_when_no_pair_belongs_together_then_says_so(base: Path) -> None:
    tokenizer = load_tokenizer(base, None)
    with pytest.raises(DataError, match="No pair belongs together"):
        match_data(tokenizer, [pair("a", "b", 0.0), pair("c", "d", 0.0)], [], "target")


def test_loss_when_it_is_asked_of_labels_then_is_refused() -> None:
    wanted = recipe("text-classification", train__loss="in_batch")
    told = [one.message for one in task_of(wanted).recipe_problems(wanted, None)]
    assert "train.loss: in_batch is no loss of labels; use focal, or remove it" in told
