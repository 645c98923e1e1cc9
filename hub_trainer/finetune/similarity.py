"""Similarity of pairs: what a cosine learns from a number, and how it is told as one again.

Legend: N rows, B pairs of a draw, D features.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn import functional
from transformers import AutoConfig, EvalPrediction, PretrainedConfig

from hub_trainer.answers import Prediction
from hub_trainer.answers.decisions import Sought
from hub_trainer.finetune.batches import padding_collate
from hub_trainer.finetune.classifier import (
    assert_whole,
    new_classifier,
    quiet_transformers,
    save_classifier,
)
from hub_trainer.finetune.dropout import set_dropout
from hub_trainer.finetune.example_weights import example_weights
from hub_trainer.finetune.heads import HEADS, Metrics, ProblemType
from hub_trainer.finetune.in_batch import InBatchObjective, match_data
from hub_trainer.finetune.label_scores import (
    Batches,
    FloatArray,
    batches_by_length,
    row_outputs,
)
from hub_trainer.finetune.plan import Batch, FitData, Objective
from hub_trainer.finetune.reloading import (
    PIPELINE,
    AsUsers,
    Promised,
    load_tokenizer,
    load_weights,
    step,
)
from hub_trainer.finetune.sentence_pairs import (
    POOLING,
    AutoModelForSentenceSimilarity,
    PairEncoder,
    pooling_of,
    write_layout,
)
from hub_trainer.finetune.tokenizers import load_reader
from hub_trainer.metrics.numbers import NUMBER_METRICS
from hub_trainer.recipe.learning import LossSection

Row = Mapping[str, Any]
LINE = "target_of_cosine"
"""Key of config.json: slope and intercept of the line from a cosine to a target."""
COSENT_SCALE = 20.0
"""How sharply a wrong order of two pairs counts; the reference implementation's."""
USUAL_METRIC = "spearman"
TEXTS = ("text", "text_pair")
TARGET = "target"


@dataclass(frozen=True)
class Line:
    """From cosines to targets: cosines have no units, and people mend numbers that have."""

    slope: float
    intercept: float

    def __call__(self, cosines: ArrayLike) -> NDArray[np.float64]:
        """(N,) targets of (N,) cosines."""
        told: NDArray[np.float64] = (
            np.asarray(cosines, dtype=np.float64) * self.slope + self.intercept
        )
        return told


COSINES = Line(1.0, 0.0)
"""The line of a model that holds none: its cosines as they are."""


def line_through(cosines: ArrayLike, targets: ArrayLike) -> Line:
    """The line of least squares; one that rises by 1 where no rising one fits, and cosines as they
    are where all targets are one."""
    given, truth = (np.asarray(one, dtype=np.float64) for one in (cosines, targets))
    if truth.max() == truth.min():
        return COSINES
    off = given - given.mean()
    spread = float((off**2).sum())
    slope = float((off * truth).sum()) / spread if spread > 0 else 1.0
    slope = slope if slope > 0 else 1.0
    return Line(slope, float(truth.mean()) - slope * float(given.mean()))


def line_of(config: PretrainedConfig) -> Line | None:
    """The line that a model's config holds; None for a model that was not trained here."""
    found = getattr(config, LINE, None)
    return Line(float(found["slope"]), float(found["intercept"])) if found else None


# --- learned


@dataclass(frozen=True)
class CosineObjective:
    """Squared error of the cosine against a target between 0 and 1, as in Reimers & Gurevych."""

    low: float
    high: float
    """The targets that a cosine of 0 and of 1 stand for."""

    def amounts(self, batch: Batch) -> torch.Tensor:
        """(B,) one number each."""
        return torch.ones(len(batch["labels"]), device=batch["labels"].device)

    def losses(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """(B,) squared errors."""
        wanted = (batch["labels"].float() - self.low) / (self.high - self.low)
        return (outputs.logits[:, 0].float() - wanted) ** 2


@dataclass(frozen=True)
class CosentObjective:
    """CoSENT: of each two pairs of a draw, the one with the higher target has the higher cosine.

    log(1 + sum of exp(scale * (cosine of the lower - cosine of the higher))), the same for each row
    of a draw, so that a batch's loss is the mean of its draws'.
    """

    scale: float = COSENT_SCALE

    def amounts(self, batch: Batch) -> torch.Tensor:
        """(B,) one number each."""
        return torch.ones(len(batch["labels"]), device=batch["labels"].device)

    def losses(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """(B,) the draw's loss."""
        targets, cosines = batch["labels"].float(), outputs.logits[:, 0].float() * self.scale
        is_lower = targets[:, None] < targets[None, :]
        excess = (cosines[:, None] - cosines[None, :])[is_lower]
        return torch.logsumexp(functional.pad(excess, (1, 0)), dim=0).expand(len(targets))


def objective_for(loss: LossSection | None, targets: Sequence[float]) -> Objective:
    """By the recipe's loss; targets between -1 and 1 are cosines as they stand."""
    if loss is not None:
        return InBatchObjective() if loss.learns_matches else CosentObjective()
    low, high = min(targets), max(targets)
    return CosineObjective(0.0, 1.0) if low >= -1 and high <= 1 else CosineObjective(low, high)


@dataclass(frozen=True)
class SimilarityHead:
    """No layer at all: the cosine of two embeddings, told as a number by a line."""

    problem_type: ProblemType = "similarity"
    by_loss: bool = False
    """Choose checkpoints by the loss, as of pairs without a number."""

    def outputs(self, names: Sequence[str]) -> list[str]:
        """None in the config: what the model gives back are embeddings."""
        del names
        return []

    def targets(self, rows: Sequence[Row], outputs: Sequence[str]) -> list[Any]:
        """The number of each row."""
        return HEADS["number"].targets(rows, outputs)

    def best_by(self, primary: str) -> str:
        """The primary metric where cosines have it and more of it is better, else Spearman's."""
        if self.by_loss:
            return "loss"
        known = NUMBER_METRICS.get(primary)
        return primary if known and not known.lower_is_better else USUAL_METRIC

    def metrics(self, primary: str, outputs: Sequence[str], sought: Sought) -> Metrics:
        """Spearman's correlation and the primary metric, on the line that suits these rows."""
        if self.by_loss:
            return lambda predicted: {}
        named = primary if primary in NUMBER_METRICS else USUAL_METRIC
        of_numbers = {
            name: HEADS["number"].metrics(name, outputs, sought) for name in {USUAL_METRIC, named}
        }

        def compute(predicted: EvalPrediction) -> dict[str, float]:
            cosines, truth = np.asarray(predicted.predictions)[:, 0], predicted.label_ids
            told = line_through(cosines, truth)(cosines)[:, None]
            numbers = EvalPrediction(predictions=told, label_ids=truth)
            return {name: of(numbers)[name] for name, of in of_numbers.items()}

        return compute

    def by_pipeline(self, pipe: Any, contents: Sequence[Any]) -> list[Prediction]:
        """From the vectors of tokens that a pipeline of features gives for each text."""
        config = pipe.model.config
        line, pooling = line_of(config) or COSINES, getattr(config, POOLING)
        found = []
        for content in contents:
            first, second = (
                _pooled(np.asarray(pipe(content[name], truncation=True)[0]), pooling)
                for name in TEXTS
            )
            found.append(Prediction(float(line(first @ second))))
        return found


SIMILARITY_HEAD = SimilarityHead()
MATCHES_HEAD = SimilarityHead(by_loss=True)


def _pooled(tokens: NDArray[np.float64], pooling: str) -> NDArray[np.float64]:
    """(D,) of length 1, of (T, D) vectors of one text's tokens."""
    vector = tokens[0] if pooling == "cls" else tokens.mean(axis=0)
    unit: NDArray[np.float64] = vector / np.linalg.norm(vector)
    return unit


# --- made and saved


def new_encoder(
    base_dir: Path, *, from_weights: bool, seed: int, dropout: float | None = None
) -> PairEncoder:
    """The base's body in float32 as an encoder of pairs, from its weights or from random ones.

    Raises TrainingError when weights of the body are missing: they would be random.
    """
    config = AutoConfig.from_pretrained(base_dir, trust_remote_code=False)
    set_dropout(config, dropout)
    setattr(config, POOLING, pooling_of(base_dir))
    if not from_weights:
        made: PairEncoder = new_classifier(AutoModelForSentenceSimilarity, config, seed=seed)
        return made
    with quiet_transformers(), torch.random.fork_rng():
        torch.manual_seed(seed)
        model: PairEncoder
        model, info = AutoModelForSentenceSimilarity.from_pretrained(
            base_dir,
            config=config,
            dtype=torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    assert_whole(model, info["missing_keys"], base_dir)
    return model


def save_encoder(
    model: PairEncoder, tokenizer: Any, folder: Path, *, like: PairEncoder, line: Line
) -> None:
    """Write what AutoModel and sentence-transformers load; `like` is the encoder as it was made."""
    body, config = model.whole_body(like), model.config
    setattr(config, LINE, {"slope": line.slope, "intercept": line.intercept})
    save_classifier(body, tokenizer, folder)
    write_layout(
        folder,
        pooling=model.pooling,
        dimension=config.get_text_config().hidden_size,
        max_length=tokenizer.model_max_length,
    )


# --- rows


def similarity_data(
    tokenizer: Any, train: Sequence[Row], validation: Sequence[Row], loss: LossSection | None
) -> FitData:
    """What is learned of rows: their numbers, or which of them belong together."""
    if loss is not None and loss.learns_matches:
        return match_data(tokenizer, train, validation, TARGET)
    return pair_data(tokenizer, train, validation)


def pair_data(tokenizer: Any, train: Sequence[Row], validation: Sequence[Row]) -> FitData:
    """Rows in tokens, both texts of a row in one batch."""
    weights = example_weights(train, class_weights=False)
    known = [
        row | {"weight": weight}
        for row, weight in zip(_encoded_pairs(tokenizer, train), weights, strict=True)
    ]
    watched = _encoded_pairs(tokenizer, validation)
    pad = padding_collate(tokenizer, on_accelerator=torch.accelerator.is_available())

    def collate(rows: list[dict[str, Any]]) -> Batch:
        batch = pad([row[name] for name in TEXTS for row in rows])
        targets = torch.tensor([row["labels"] for row in rows], dtype=torch.float32)
        return {**batch, "labels": targets}

    return FitData(
        train=known,
        validation=watched or None,
        collate=collate,
        lengths=[_length(row) for row in known],
        validation_lengths=[_length(row) for row in watched],
    )


def _length(row: Mapping[str, Any]) -> int:
    return sum(len(row[name]["input_ids"]) for name in TEXTS)


def _encoded_pairs(tokenizer: Any, rows: Sequence[Row]) -> list[dict[str, Any]]:
    sides = {name: _encoded(tokenizer, [str(row[name]) for row in rows]) for name in TEXTS}
    targets = SIMILARITY_HEAD.targets(rows, ())
    return [
        {**{name: sides[name][place] for name in TEXTS}, "labels": target}
        for place, target in enumerate(targets)
    ]


def _encoded(tokenizer: Any, texts: Sequence[str]) -> list[dict[str, Any]]:
    if not texts:
        return []
    columns = tokenizer(list(texts), truncation=True)
    return [{name: columns[name][place] for name in columns} for place in range(len(texts))]


# --- asked


def by_features(folder: Path, rows: Sequence[Row], promised: Promised) -> AsUsers:
    """What users get of a folder by a pipeline of features and a mean, without us.

    Raises ReloadFailure naming the step that failed.
    """
    from transformers import pipeline

    load_weights(folder, "AutoModel")
    load_tokenizer(folder, promised)
    with step("pipeline() does not run on the folder"):
        pipe = pipeline("feature-extraction", model=str(folder), trust_remote_code=False)
        found = SIMILARITY_HEAD.by_pipeline(pipe, rows)
    return AsUsers(found, [f"{PIPELINE} of feature-extraction"])


@dataclass(frozen=True)
class Embedded:
    """(N, D) vectors of length 1 of both texts of rows."""

    first: FloatArray
    second: FloatArray

    @property
    def cosines(self) -> FloatArray:
        """(N,)."""
        found: FloatArray = (self.first * self.second).sum(axis=1)
        return found

    def predictions(self, line: Line) -> list[Prediction]:
        """A number per row, with the vectors that it was made of."""
        told = line(self.cosines).tolist()
        pairs = zip(self.first, self.second, strict=True)
        return [Prediction(value, vectors=pair) for value, pair in zip(told, pairs, strict=True)]


def embedded(model: PairEncoder, tokenizer: Any, rows: Sequence[Row]) -> Embedded:
    """Both texts of each row; a text that stands in several is read once."""
    texts = list(dict.fromkeys(str(row[name]) for name in TEXTS for row in rows))
    place = {text: number for number, text in enumerate(texts)}
    vectors = row_outputs(model.embed, model, _batches(tokenizer, texts), len(texts))
    first, second = (vectors[[place[str(row[name])] for row in rows]] for name in TEXTS)
    return Embedded(first, second)


def load_encoder(folder: Path) -> tuple[PairEncoder, Any]:
    """Encoder and tokenizer of a folder; kept until its files change."""
    return load_reader(AutoModelForSentenceSimilarity, folder)


def _batches(tokenizer: Any, texts: Sequence[str]) -> Batches:
    encoded = _encoded(tokenizer, texts)
    pad = padding_collate(tokenizer, on_accelerator=torch.accelerator.is_available())

    def made() -> Iterator[tuple[Sequence[int], Mapping[str, torch.Tensor]]]:
        for chosen in batches_by_length([len(row["input_ids"]) for row in encoded]):
            yield chosen, pad([encoded[place] for place in chosen])

    return made()
