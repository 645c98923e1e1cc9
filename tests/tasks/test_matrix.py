"""Task x answer x method: each cell of the documentation trains what it says, and loads again."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hub_trainer.cli.document import methods_table
from hub_trainer.errors import TrainingError
from hub_trainer.finetune import engine
from hub_trainer.finetune.tables import load_pipeline, num_parameters
from hub_trainer.recipe.method_table import METHODS
from hub_trainer.tasks import PLAIN, Asked, ModelFolders, Splits, load_task
from hub_trainer.tasks.outlines import OUTLINES
from tests.tasks.factory import (
    LABELS,
    ctc_base,
    image_base,
    image_rows,
    recipe,
    sound_base,
    sound_rows,
    speech_rows,
    table_rows,
    tagged_rows,
    text_base,
    text_rows,
    whisper_base,
)
from tests.tasks.language import demonstrations, language_base

ARGUMENTS = {
    "max_steps": 2,
    "per_device_train_batch_size": 4,
    "learning_rate": 0.01,
    "logging_steps": 1,
    "eval_strategy": "no",
}
SETTINGS: dict[str, dict[str, Any]] = {"last_n": {"train__last_n": 1}}
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Subject:
    """Rows and a base of a few thousand parameters, which are known by how their names begin."""

    rows: Callable[[int], Rows]
    metric: str
    names: tuple[str, ...] = ()
    base: Callable[[Path], Path] | None = None
    head: tuple[str, ...] = ()
    """Beside the body, or its pooler."""
    blocks: tuple[str, ...] = ()
    """The repeated blocks, first to last."""
    after: tuple[str, ...] = ()
    """Between the last block and the head."""


def with_answers(count: int) -> Rows:
    """Texts with a set of labels and a number too."""
    rows = [{**row, "labels": [row["label"]]} for row in text_rows(count)]
    return [{**row, "target": float(len(row["text"]))} for row in rows]


def priced(count: int) -> Rows:
    """Rows of a table with a number to learn."""
    rows = [{**row, "target": float(row["legs"])} for row in table_rows(count)]
    return [{name: value for name, value in row.items() if name != "label"} for row in rows]


def pairs(count: int) -> Rows:
    """Two texts with a number."""
    rows = with_answers(count)
    return [
        {"text": row["text"], "text_pair": other["text"], "target": row["target"]}
        for row, other in zip(rows, rows[::-1], strict=True)
    ]


BERT = {"base": text_base, "blocks": ("bert.encoder.layer.0.", "bert.encoder.layer.1.")}
WAVES = {"blocks": ("wav2vec2.encoder.layers.0.", "wav2vec2.encoder.layers.1.")}
POOLED = ("bert.pooler.", "classifier.")
COLORS = tuple(LABELS)
SUBJECTS: dict[tuple[str, str], Subject] = {
    ("text-classification", "label"): Subject(
        with_answers, "accuracy", COLORS, head=POOLED, **BERT
    ),
    ("text-classification", "labels"): Subject(
        with_answers, "f1_micro", COLORS, head=POOLED, **BERT
    ),
    ("text-classification", "number"): Subject(with_answers, "mae", head=POOLED, **BERT),
    ("token-classification", "spans"): Subject(
        tagged_rows, "entity_f1", ("color", "thing"), head=("classifier.",), **BERT
    ),
    ("image-classification", "label"): Subject(
        image_rows, "accuracy", COLORS, image_base, ("classifier.",),
        ("resnet.encoder.stages.0.layers.0.", "resnet.encoder.stages.1.layers.0."),
    ),
    ("audio-classification", "label"): Subject(
        sound_rows, "accuracy", COLORS, sound_base, ("projector.", "classifier."), **WAVES
    ),
    ("automatic-speech-recognition", "transcript"): Subject(
        speech_rows, "wer", base=ctc_base, head=("lm_head.",), **WAVES
    ),
    ("tabular-classification", "label"): Subject(table_rows, "accuracy", ("big", "small")),
    ("tabular-regression", "number"): Subject(priced, "mae"),
    ("text-generation", "completion"): Subject(
        demonstrations, "perplexity", base=language_base, head=("lm_head.",),
        blocks=("model.layers.0.", "model.layers.1."), after=("model.norm.",),
    ),
    ("sentence-similarity", "number"): Subject(
        pairs, "spearman", base=text_base,
        blocks=("body.encoder.layer.0.", "body.encoder.layer.1."),
    ),
}  # fmt: skip
WRITES_WORDS = Subject(
    speech_rows, "wer", base=whisper_base,
    blocks=("model.decoder.layers.0.", "model.decoder.layers.1."),
    after=("model.decoder.layer_norm.",),
)  # fmt: skip
CELLS = [
    (task, answer, method)
    for task, answer in SUBJECTS
    for method in METHODS
    if method not in load_task(task, answer).unfit
]
ALIKE = {"labels", "number"}
"""Answers of texts whose models differ from those of a label in their loss alone."""


def marked(task: str, answer: str, method: str) -> Any:
    """A cell, which is slow where another has its body and its method, and the loss is seen."""
    is_seen = task == "text-classification" and answer in ALIKE and method not in ("head", "full")
    return pytest.param(task, answer, method, marks=pytest.mark.slow if is_seen else ())


@dataclass(frozen=True)
class Learner:
    """What a method made of a model before the first step."""

    learned: frozenset[str]
    fixed: frozenset[str]
    """What does not learn."""
    start: dict[str, torch.Tensor]
    """Every parameter, by name."""


@pytest.fixture
def learners(monkeypatch: pytest.MonkeyPatch) -> list[Learner]:
    """Each model that was made ready for training."""
    seen: list[Learner] = []
    apply_method = engine.apply_method

    def watched(*given: Any, **settings: Any) -> Any:
        model, report = apply_method(*given, **settings)
        found = dict(model.named_parameters())
        learned = frozenset(name for name, one in found.items() if one.requires_grad)
        start = {name: one.detach().clone() for name, one in found.items()}
        seen.append(Learner(learned, frozenset(found) - learned, start))
        return model, report

    monkeypatch.setattr(engine, "apply_method", watched)
    return seen


def fitted(folder: Path, pair: tuple[str, str], subject: Subject, method: str) -> Any:
    """The report of two steps, and the folders of the model that they made."""
    task = load_task(*pair)
    settings = recipe(
        task.name,
        evaluate__metrics=[subject.metric],
        evaluate__primary=subject.metric,
        train__method=method,
        train__arguments=ARGUMENTS if subject.base else {},
        **SETTINGS.get(method, {}),
        **({} if subject.base else {"base_model": None}),
    )
    rows = subject.rows(12 if subject.base else 60)
    base = ModelFolders(subject.base(folder / "base")) if subject.base else None
    splits = Splits(rows[4:], rows[:4], list(subject.names))
    report = task.fit(splits, settings, folder, base=base, progress=lambda share, doing: None)
    model = folder / "model"
    is_adapter = (model / "adapter_config.json").exists()
    return report, ModelFolders(model, base.model if base and is_adapter else None)


def assert_learns(method: str, subject: Subject, learner: Learner) -> None:
    """By name: exactly what the method says learns, and the rest does not."""
    every = learner.learned | learner.fixed
    assert every
    if METHODS[method].adapter:
        assert all(".lora_" in name or ".modules_to_save." in name for name in learner.learned)
        for block in subject.blocks:
            assert any(block in name and ".lora_B." in name for name in learner.learned)
        heads = () if subject.base is language_base else subject.head
        kept = [name for name in learner.learned if ".modules_to_save." in name]
        assert all(any(f".{head}" in name for name in kept) for head in heads)
        assert all(any(f".{head}" in name for head in heads) for name in kept)
        return
    starts = {
        "head": subject.head,
        "last_n": (*subject.blocks[-1:], *subject.after, *subject.head),
    }.get(method)
    if starts is None:
        assert learner.fixed == frozenset()
    else:
        assert learner.learned == {name for name in every if name.startswith(starts)}
        assert all(any(name.startswith(start) for name in learner.learned) for start in starts)


def assert_begins(method: str, subject: Subject, learner: Learner, base: Path) -> None:
    """Blocks of the base begin as the base has them, and new ones do not."""
    stored = load_file(base / "model.safetensors")
    new = {"hybrid": subject.blocks[-1:], "scratch": subject.blocks}.get(method, ())
    # Scales and biases begin alike in every model.
    matrices = [name for name, one in learner.start.items() if one.ndim > 1]
    found = [name for name in matrices if name.startswith(subject.blocks)]
    assert found
    for name in found:
        [theirs] = [one for own, one in stored.items() if f".{name}".endswith(f".{own}")]
        is_as_stored = torch.equal(learner.start[name].float(), theirs.float())
        assert is_as_stored == (not name.startswith(new) if new else True), name


def assert_loads(pair: tuple[str, str], folders: ModelFolders, rows: Rows) -> None:
    """The folder has its files, and answers every row."""
    loaded = load_task(*pair)
    every = folders.model.rglob("*")
    files = {path.relative_to(folders.model).as_posix() for path in every}
    assert folders.base is not None or set(loaded.card().files) <= files
    asked = Asked(answered=(), weighed=range(len(rows))) if loaded.converses else PLAIN
    found = loaded.predict(folders, rows, asked)
    assert len(found) == len(rows)
    for one in found:
        assert all(map(math.isfinite, one.scores.values()))
        assert one.likelihood is None or math.isfinite(one.likelihood.log_prob)
        assert one.value is not None or one.likelihood is not None


@pytest.mark.parametrize(("task", "answer", "method"), [marked(*cell) for cell in CELLS])
def test_cell_when_trained_then_its_method_learns_by_name_and_the_folder_loads(
    task: str, answer: str, method: str, tmp_path: Path, learners: list[Learner]
) -> None:
    subject = SUBJECTS[task, answer]
    report, folders = fitted(tmp_path, (task, answer), subject, method)
    assert report.method == method
    if subject.base is None:
        estimator = load_pipeline(folders.model)["estimator"]
        assert report.trainable_parameters == num_parameters(estimator) > 0
    else:
        [learner] = learners
        assert_learns(method, subject, learner)
        if not METHODS[method].adapter:
            assert_begins(method, subject, learner, tmp_path / "base")
        losses = [entry["loss"] for entry in report.history if "loss" in entry]
        assert losses
        assert all(map(math.isfinite, losses))
    assert_loads((task, answer), folders, subject.rows(3))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["last_n", "full", "lora", "scratch", "hybrid"])
def test_speech_when_a_model_writes_words_then_its_method_learns_by_name_too(
    method: str, tmp_path: Path, learners: list[Learner]
) -> None:
    pair = ("automatic-speech-recognition", "transcript")
    report, folders = fitted(tmp_path, pair, WRITES_WORDS, method)
    [learner] = learners
    assert_learns(method, WRITES_WORDS, learner)
    assert all(math.isfinite(entry["loss"]) for entry in report.history if "loss" in entry)
    assert_loads(pair, folders, speech_rows(3))


def test_speech_when_a_model_writes_words_then_it_has_no_head_to_learn_alone(
    tmp_path: Path,
) -> None:
    pair = ("automatic-speech-recognition", "transcript")
    with pytest.raises(TrainingError, match="no head of its own"):
        fitted(tmp_path, pair, WRITES_WORDS, "head")


def test_table_when_written_then_each_of_its_cells_is_run_here() -> None:
    lines = [line.strip("| ").split(" | ") for line in methods_table().splitlines()]
    [head, _, *rows] = [line for line in lines if len(line) > 2]
    methods = [name.strip("`") for name in head[2:]]
    shown = {
        (task, answer, method)
        for task, answer, *cells in rows
        for method, cell in zip(methods, cells, strict=True)
        if cell == "yes"
    }
    assert shown == set(CELLS)
    assert set(SUBJECTS) == {
        (task, answer) for task, one in OUTLINES.items() for answer in one.answers
    }


def test_table_when_a_cell_cannot_be_then_says_why() -> None:
    table = methods_table()
    numbers = set(re.findall(r"no \((\d+)\)", table))
    assert numbers == set(re.findall(r"^(\d+)\. \S.*\.$", table, re.MULTILINE))
    for name, one in OUTLINES.items():
        for answer in one.answers:
            task = load_task(name, answer)
            assert task.unfit.keys() < METHODS.keys()


@pytest.mark.parametrize(
    ("task", "method", "why"),
    [
        ("text-classification", "qlora", "as only weights of a language model are loaded in few"),
        ("tabular-regression", "lora", "as an estimator is fitted from the start, without a base"),
        ("text-generation", "head", "as a language model ends in what belongs to its base"),
    ],
)
def test_method_when_a_task_does_not_offer_it_then_check_says_why(
    task: str, method: str, why: str
) -> None:
    asked = recipe(task, train__method=method)
    told = "\n".join(one.message for one in load_task(task).recipe_problems(asked, None))
    assert f"train.method: {task} does not offer '{method}', {why}" in told
