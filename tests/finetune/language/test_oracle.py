"""Loss and every gradient equal TRL's on the same tokens, through the whole of our machinery."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from hub_trainer.finetune.batches import NUM_ROWS, WEIGHT
from hub_trainer.finetune.language.chat import tokenize
from hub_trainer.finetune.language.encode import Reading, encode
from hub_trainer.finetune.language.objective import LanguageObjective
from hub_trainer.finetune.language.packing import Packing, PackingCollate
from hub_trainer.finetune.language.ratings import with_mismatched
from hub_trainer.finetune.language.references import with_references
from hub_trainer.finetune.language.scoring import scoring
from hub_trainer.rows.formats import read_examples
from tests.finetune.language.tiny import WITH_TAGS, WITHOUT_TAGS, llama, tokenizer

trl = pytest.importorskip("trl")

# What trl, datasets and torch say of their own use of one another.
pytestmark = pytest.mark.filterwarnings("ignore")

PAIRS = [
    {"prompt": "ab" * i, "chosen": "cd" * (5 - i), "rejected": "e" * (2 * i + 1)}
    for i in range(1, 5)
]
RATED = [
    {"prompt": "ab" * i, "completion": "cde" * (6 - i), "label": i % 2 == 0} for i in range(1, 6)
]
BOTH = [{"prompt": "ab" * i, "completion": "cde" * (6 - i)} for i in range(1, 6)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    llama().save_pretrained(path)
    tokenizer(None).save_pretrained(path)
    return path


def theirs(
    kind: str,
    rows: list[dict[str, Any]],
    folder: Path,
    template: str | None = None,
    **options: Any,
) -> tuple[Any, torch.Tensor, Mapping[str, torch.Tensor]]:
    """Their trainer, and its loss and gradients on one batch of all rows, in float64."""
    from datasets import Dataset

    trainer = getattr(trl, f"{kind}Trainer")(
        model=str(folder),
        args=getattr(trl, f"{kind}Config")(
            output_dir=str(folder / "logs"),
            per_device_train_batch_size=len(rows),
            use_cpu=True,
            bf16=False,
            report_to="none",
            gradient_checkpointing=False,
            **options,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer(template),
    )
    trainer.model.double().train()
    reference = getattr(trainer, "ref_model", None)
    if reference is not None:
        torch.manual_seed(7)
        for parameter in reference.double().parameters():
            parameter.data += 0.02 * torch.randn_like(parameter)
    (batch,) = trainer.get_train_dataloader()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    gradients = {
        n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None
    }
    trainer.model.zero_grad()
    return trainer, loss.detach(), gradients


def ours(
    model: Any, rows: list[dict[str, Any]], objective: LanguageObjective, budget: int
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    batch = PackingCollate(Packing(budget))(rows)
    batch[WEIGHT] = torch.ones(len(rows), dtype=torch.float64)
    batch[NUM_ROWS] = len(rows)
    total = torch.zeros((), dtype=torch.float64)
    with scoring(model, dense=True):
        objective.prepare(model, [batch], lambda tensor: tensor)
        assert objective.loss_type != "kto" or batch["kl"] > 0.01
        amount = (objective.amounts(batch) * batch[WEIGHT]).sum()
        for part in objective.parts(batch):
            losses = objective.losses(objective.outputs(model, part), part)
            loss = (losses * part[WEIGHT]).sum() / amount
            loss.backward()
            total += loss.detach()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return total, gradients


def assert_same(
    found: tuple[torch.Tensor, Mapping[str, torch.Tensor]],
    expected: tuple[torch.Tensor, Mapping[str, torch.Tensor]],
) -> None:
    # Theirs sums log-probabilities in float32, whatever the model's dtype.
    assert float(abs(found[0] - expected[0])) < 1e-6 * max(1.0, float(expected[0]))
    assert found[1].keys() == expected[1].keys()
    assert max(float(g.abs().max()) for g in expected[1].values()) > 1e-3
    for name, gradient in expected[1].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-6, atol=1e-6, msg=name)


def encoded(dataset: Any, *answers: str) -> list[dict[str, Any]]:
    """Their tokens as our rows."""
    return [
        {
            "prompt": row["prompt_ids"],
            "answers": [row[name] for name in answers],
            "trained": [[True] * len(row[name]) for name in answers],
            **({"desirable": row["label"]} if "label" in row else {}),
        }
        for row in dataset
    ]


@pytest.mark.parametrize("budget", [1000, 25])
@pytest.mark.parametrize(
    ("loss_type", "options"),
    [
        ("sigmoid", {}),
        ("ipo", {"beta": 0.2}),
        ("robust", {"label_smoothing": 0.2}),
    ],
)
def test_dpo_equals_trl(
    loss_type: Any, options: dict[str, float], budget: int, folder: Path, tmp_path: Path
) -> None:
    trainer, *expected = theirs("DPO", PAIRS, folder, loss_type=loss_type, **options)
    rows = encoded(trainer.train_dataset, "chosen_ids", "rejected_ids")
    rows = with_references(trainer.ref_model, rows, Packing(budget), tmp_path)
    objective = LanguageObjective(loss_type, **{"beta": 0.1, **options})
    assert_same(ours(trainer.model, rows, objective, budget), (expected[0], expected[1]))


@pytest.mark.parametrize("budget", [1000, 25])
@pytest.mark.parametrize("loss_type", ["kto", "apo_zero_unpaired"])
def test_kto_equals_trl(loss_type: Any, budget: int, folder: Path, tmp_path: Path) -> None:
    weights = {"desirable_weight": 1.5, "undesirable_weight": 0.75}
    trainer, *expected = theirs("KTO", RATED, folder, loss_type=loss_type, beta=0.3, **weights)
    rows = encoded(trainer.train_dataset, "completion_ids")
    rows = with_mismatched(rows, block=len(rows), max_length=1000)
    if loss_type == "kto":
        theirs_mismatched = [row["KL_completion_ids"] for row in trainer.train_dataset]
        assert [row["mismatched"] for row in rows] == theirs_mismatched
    rows = with_references(trainer.ref_model, rows, Packing(budget), tmp_path)
    objective = LanguageObjective(loss_type, beta=0.3, class_weights=(1.5, 0.75))
    assert_same(ours(trainer.model, rows, objective, budget), (expected[0], expected[1]))


@pytest.mark.parametrize("budget", [1000, 25])
@pytest.mark.parametrize("completion_only", [True, False])
def test_sft_equals_trl(completion_only: bool, budget: int, folder: Path) -> None:
    options = {"completion_only_loss": completion_only, "max_length": None}
    trainer, *expected = theirs("SFT", BOTH, folder, **options)
    rows = []
    for row in trainer.train_dataset:
        marks = [label != -100 for label in row["labels"]]
        rows.append({"prompt": [], "answers": [row["input_ids"]], "trained": [marks]})
    assert completion_only == (not all(rows[0]["trained"][0]))
    found = ours(trainer.model, rows, LanguageObjective("nll"), budget)
    assert_same(found, (expected[0], expected[1]))


TURNS = [
    [("user", "Hi"), ("assistant", "Yes?"), ("user", "Go on"), ("assistant", "No.")],
    [("system", "Be short."), ("user", "Who?"), ("assistant", "Me, myself and I.")],
]
DIALOGUES = [{"messages": [{"role": r, "content": c} for r, c in turns]} for turns in TURNS]
ASKED = [{"prompt": row["messages"][:-1], "completion": row["messages"][-1:]} for row in DIALOGUES]


@pytest.mark.parametrize(
    ("rows", "template", "options", "train_on"),
    [
        (DIALOGUES, WITH_TAGS, {"assistant_only_loss": True}, None),
        (DIALOGUES, WITHOUT_TAGS, {}, "all"),
        (ASKED, WITHOUT_TAGS, {}, None),
        (ASKED, WITHOUT_TAGS, {"completion_only_loss": False}, "all"),
        (BOTH, None, {}, None),
        ([{"text": "some words"}, {"text": "others"}], None, {}, None),
    ],
)
def test_demonstrations_are_read_and_learned_as_trl_does(
    rows: list[dict[str, Any]], template: str | None, options: Any, train_on: Any, folder: Path
) -> None:
    trainer, *expected = theirs("SFT", rows, folder, template, **options, max_length=None)
    known, examples = read_examples(rows)
    made = encode(examples, tokenizer(template), known, Reading(500, train_on)).rows
    for found, wanted in zip(made, trainer.train_dataset, strict=True):
        ids, marks = found["prompt"] + found["answers"][0], found["trained"][0]
        assert ids == wanted["input_ids"]
        learned = [False] * len(found["prompt"]) + marks
        # Nothing predicts the first token, so whether it is learned does not matter.
        assert learned[1:] == [label != -100 for label in wanted["labels"]][1:]
    assert_same(ours(trainer.model, made, LanguageObjective("nll"), 60), (*expected,))


@pytest.mark.parametrize("kind", ["DPO", "KTO"])
@pytest.mark.parametrize("template", [None, WITHOUT_TAGS])
def test_preferences_and_ratings_are_read_as_trl_does(
    kind: str, template: str | None, folder: Path
) -> None:
    rows: list[dict[str, Any]] = PAIRS if kind == "DPO" else RATED
    names = ("chosen", "rejected") if kind == "DPO" else ("completion",)
    if template:
        rows = [_as_dialogue(row, names) for row in rows]
    trainer, *_ = theirs(kind, rows, folder, template)
    known, examples = read_examples(rows)
    for example, wanted in zip(examples, trainer.train_dataset, strict=True):
        found = tokenize(tokenizer(template), example)
        assert found.prompt == wanted["prompt_ids"]
        assert found.answers == [wanted[f"{name}_ids"] for name in names]


def _as_dialogue(row: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    said = {name: [{"role": "assistant", "content": row[name]}] for name in names}
    return {**row, **said, "prompt": [{"role": "user", "content": row["prompt"]}]}
