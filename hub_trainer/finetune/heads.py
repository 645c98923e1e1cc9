"""Heads of torch models by the answer that they learn: targets, outputs, checkpoints, folding.

Legend: N rows, C outputs of the model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import EvalPrediction, PretrainedConfig

from hub_trainer.answers import Prediction
from hub_trainer.answers.decisions import THRESHOLDS, Sought, decide, thresholds_for
from hub_trainer.answers.name_probabilities import LABEL_METRICS, label_statistics
from hub_trainer.answers.span_reading import tagged
from hub_trainer.answers.tags import OUTSIDE, span_tags, spans_of_tags, type_of
from hub_trainer.answers.transcript import one_line
from hub_trainer.answers.word_lists import words_of
from hub_trainer.errors import DataError
from hub_trainer.finetune.classifier_objective import IGNORED
from hub_trainer.finetune.word_pieces import encoded, windows_of
from hub_trainer.metrics import compute_metric
from hub_trainer.metrics.label_sets import LABEL_SET_METRICS, set_statistics
from hub_trainer.metrics.numbers import NUMBER_METRICS, number_statistics
from hub_trainer.metrics.probabilities import PROBABILITY_METRICS, probability_statistics
from hub_trainer.metrics.span_metrics import SPAN_METRICS, Span, span_statistics
from hub_trainer.sounds import resampled
from hub_trainer.stats import measure

FloatArray = NDArray[np.float32]
Row = Mapping[str, Any]
Metrics = Callable[[EvalPrediction], dict[str, float]]
ProblemType = Literal[
    "single_label_classification", "multi_label_classification", "regression", "similarity"
]
"""How transformers reads the outputs; of similarity there are none."""
OUTPUT_NAME = "target"
"""What a model of numbers calls its only output."""
THRESHOLD = 0.5
OVER_ALL = "f1_micro"
"""The metric of all decisions at once."""


class AskedHead(Protocol):
    """What is asked of a model's end once it is trained, for one kind of answer."""

    def outputs(self, names: Sequence[str]) -> list[str]:
        """Names of the model's outputs; none where those have no names in its config."""

    def by_pipeline(self, pipe: Any, contents: Sequence[Any]) -> list[Prediction]:
        """What a plain pipeline of transformers says of what its input gives to one."""


class Head(AskedHead, Protocol):
    """What a model ends in that is trained to choose among outputs."""

    @property
    def problem_type(self) -> ProblemType:
        """How transformers reads the outputs."""

    def targets(self, rows: Sequence[Row], outputs: Sequence[str]) -> list[Any]:
        """What each row is to teach: an index, a list of 0 and 1, a number, an index per word."""

    def best_by(self, primary: str) -> str:
        """The figure of the validation rows by which a checkpoint is chosen."""

    def metrics(self, primary: str, outputs: Sequence[str], sought: Sought) -> Metrics:
        """Figures of the validation rows from what is kept of logits, and targets."""


class RowHead(Head, Protocol):
    """A head whose outputs are about a row as a whole."""

    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        """(N, C) probabilities, or numbers, of logits."""

    def predictions(self, scores: FloatArray, config: PretrainedConfig) -> list[Prediction]:
        """One per row."""

    def settle(
        self, model: Any, scores: FloatArray | None, targets: Sequence[Any], primary: str
    ) -> None:
        """Write into a trained model's config what the validation rows choose for a metric."""

    def prepare(self, model: nn.Module, targets: Sequence[Any]) -> None:
        """Start a new head where the training rows' answers are."""


@dataclass(frozen=True)
class LabelHead:
    """Softmax over the labels."""

    problem_type: ProblemType = "single_label_classification"

    def outputs(self, names: Sequence[str]) -> list[str]:
        """The labels."""
        if len(names) < 2:
            got = ", ".join(names) or "none"
            raise DataError(
                "A classifier needs two labels or more.", got=got, do="add rows of another label"
            )
        return list(names)

    def targets(self, rows: Sequence[Row], outputs: Sequence[str]) -> list[Any]:
        """The index of each row's label."""
        return label_ids(rows, outputs)

    def best_by(self, primary: str) -> str:
        """The primary metric, or the loss in place of the Brier score."""
        return "loss" if primary == "brier" else primary

    def metrics(self, primary: str, outputs: Sequence[str], sought: Sought) -> Metrics:
        """Accuracy and the primary metric, at the threshold that these rows would choose."""
        place = {name: index for index, name in enumerate(outputs)}

        def compute(predicted: EvalPrediction) -> dict[str, float]:
            logits = torch.from_numpy(np.asarray(predicted.predictions, dtype=np.float64))
            found = label_predictions(self.scores(logits).numpy(), outputs)
            ids = predicted.label_ids.tolist()
            references = [outputs[index] for index in ids]
            found = decide(found, thresholds_for(found, references, sought))
            answers = [place[one.value] for one in found]
            counted = {"accuracy", primary} - LABEL_METRICS.keys()
            figures = {name: compute_metric(name, ids, answers) for name in counted}
            if primary in LABEL_METRICS:
                own = label_statistics(primary, references, found, outputs, sought.positive)
                figures[primary] = measure(LABEL_METRICS[primary], own)
            return figures

        return compute

    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        """Softmax."""
        return logits.softmax(dim=-1)

    def predictions(self, scores: FloatArray, config: PretrainedConfig) -> list[Prediction]:
        """The likeliest label, or what the model's threshold makes of the probabilities."""
        found = label_predictions(scores, output_order(config))
        return decide(found, getattr(config, THRESHOLDS, None))

    def settle(
        self, model: Any, scores: FloatArray | None, targets: Sequence[Any], primary: str
    ) -> None:
        """Nothing is chosen."""

    def prepare(self, model: nn.Module, targets: Sequence[Any]) -> None:
        """Nothing to start from."""

    def by_pipeline(self, pipe: Any, contents: Sequence[Any]) -> list[Prediction]:
        """From the probability of each label."""
        return scored_by_pipeline(self, pipe, contents)


@dataclass(frozen=True)
class LabelSetHead:
    """A sigmoid per label, and a threshold per label chosen on the validation rows."""

    problem_type: ProblemType = "multi_label_classification"

    def outputs(self, names: Sequence[str]) -> list[str]:
        """The labels."""
        return list(names)

    def targets(self, rows: Sequence[Row], outputs: Sequence[str]) -> list[Any]:
        """0.0 or 1.0 per label; a label that is none of the outputs is not learned."""
        place = {name: index for index, name in enumerate(outputs)}
        found = []
        for row in rows:
            target = [0.0] * len(outputs)
            for name in row["labels"]:
                if name in place:
                    target[place[name]] = 1.0
            found.append(target)
        return found

    def best_by(self, primary: str) -> str:
        """The primary metric, or the loss in place of the Brier score."""
        return "loss" if primary == "brier" else primary

    def metrics(self, primary: str, outputs: Sequence[str], sought: Sought) -> Metrics:
        """Micro F1 and the primary metric, at the thresholds that suit these rows best."""

        def compute(predicted: EvalPrediction) -> dict[str, float]:
            truth = np.asarray(predicted.label_ids, dtype=np.float64)
            scores = _sigmoid(np.asarray(predicted.predictions, dtype=np.float64))
            limits = best_thresholds(scores, truth, over_all=primary == OVER_ALL)
            given = (scores >= limits).astype(np.float64)
            found = {
                name: measure(LABEL_SET_METRICS[name], set_statistics(name, truth, given))
                for name in {"f1_micro", primary} - PROBABILITY_METRICS.keys()
            }
            if primary in PROBABILITY_METRICS:
                statistics = probability_statistics(primary, truth, scores)
                found[primary] = measure(PROBABILITY_METRICS[primary], statistics)
            return found

        return compute

    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        """Sigmoid."""
        return logits.sigmoid()

    def predictions(self, scores: FloatArray, config: PretrainedConfig) -> list[Prediction]:
        """Every label whose probability reaches its threshold."""
        names = output_order(config)
        known = getattr(config, THRESHOLDS, None) or {}
        limits = [float(known.get(name, THRESHOLD)) for name in names]
        found = []
        for row in scores.astype(np.float64).tolist():
            value = frozenset(n for n, s, t in zip(names, row, limits, strict=True) if s >= t)
            found.append(Prediction(value, dict(zip(names, row, strict=True))))
        return found

    def settle(
        self, model: Any, scores: FloatArray | None, targets: Sequence[Any], primary: str
    ) -> None:
        """The thresholds of the best F1 on the validation rows.

        Label by label, or over all decisions at once where that is the primary metric.
        """
        names = output_order(model.config)
        limits = [THRESHOLD] * len(names)
        if scores is not None and len(scores):
            limits = best_thresholds(
                scores.astype(np.float64), np.asarray(targets), over_all=primary == OVER_ALL
            ).tolist()
        setattr(model.config, THRESHOLDS, dict(zip(names, limits, strict=True)))

    def prepare(self, model: nn.Module, targets: Sequence[Any]) -> None:
        """Each output at its label's share, so that rare labels need not be unlearned first."""
        layer = output_layer(model)
        if layer is None or layer.bias is None or not len(targets):
            return
        shares = np.clip(np.asarray(targets).mean(axis=0), 1e-3, 1 - 1e-3)
        with torch.no_grad():
            layer.bias.copy_(torch.from_numpy(np.log(shares / (1 - shares))))

    def by_pipeline(self, pipe: Any, contents: Sequence[Any]) -> list[Prediction]:
        """From the probability of each label."""
        return scored_by_pipeline(self, pipe, contents)


@dataclass(frozen=True)
class NumberHead:
    """One output in the target's own units."""

    problem_type: ProblemType = "regression"

    def outputs(self, names: Sequence[str]) -> list[str]:
        """One."""
        del names
        return [OUTPUT_NAME]

    def targets(self, rows: Sequence[Row], outputs: Sequence[str]) -> list[Any]:
        """The number of each row."""
        del outputs
        return [float(row["target"]) for row in rows]

    def best_by(self, primary: str) -> str:
        """The primary metric where more of it is better, else the loss."""
        return "loss" if NUMBER_METRICS[primary].lower_is_better else primary

    def metrics(self, primary: str, outputs: Sequence[str], sought: Sought) -> Metrics:
        """R2 and the primary metric."""

        def compute(predicted: EvalPrediction) -> dict[str, float]:
            truth, given = np.asarray(predicted.label_ids), np.asarray(predicted.predictions)[:, 0]
            return {
                name: measure(NUMBER_METRICS[name], number_statistics(name, truth, given))
                for name in {"r2", primary}
            }

        return compute

    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        """As they are."""
        return logits

    def predictions(self, scores: FloatArray, config: PretrainedConfig) -> list[Prediction]:
        """The number."""
        del config
        return [Prediction(float(value)) for value in scores[:, 0].tolist()]

    def settle(
        self, model: Any, scores: FloatArray | None, targets: Sequence[Any], primary: str
    ) -> None:
        """Nothing is chosen."""

    def prepare(self, model: nn.Module, targets: Sequence[Any]) -> None:
        """The output at the mean, with steps as wide as the spread of the training rows."""
        layer = output_layer(model)
        if layer is None or layer.bias is None or not len(targets):
            return
        values = np.asarray(targets, dtype=np.float64)
        with torch.no_grad():
            layer.weight.mul_(float(values.std()) or 1.0)
            layer.bias.fill_(float(values.mean()))

    def by_pipeline(self, pipe: Any, contents: Sequence[Any]) -> list[Prediction]:
        """From its one output."""
        return scored_by_pipeline(self, pipe, contents)


@dataclass(frozen=True)
class SpansHead:
    """Softmax over the tags of IOB2 at the first piece of each word."""

    problem_type: ProblemType = "single_label_classification"

    def outputs(self, names: Sequence[str]) -> list[str]:
        """O, and two tags for each type."""
        return span_tags(names)

    def targets(self, rows: Sequence[Row], outputs: Sequence[str]) -> list[Any]:
        """The index of each word's tag; of a type that is no output, that of O."""
        place = {tag: index for index, tag in enumerate(outputs)}
        return [[place.get(tag, place[OUTSIDE]) for _, tag in row["tags"]] for row in rows]

    def best_by(self, primary: str) -> str:
        """The primary metric."""
        return primary

    def metrics(self, primary: str, outputs: Sequence[str], sought: Sought) -> Metrics:
        """F1 of spans and the primary metric; a window of a long text counts as a row."""

        def spans(tags: Any, counted: Any) -> list[frozenset[Span]]:
            return [
                frozenset(spans_of_tags([outputs[index] for index in row[there]]))
                for row, there in zip(tags, counted, strict=True)
            ]

        def compute(predicted: EvalPrediction) -> dict[str, float]:
            counted = np.asarray(predicted.label_ids) != IGNORED
            truth = spans(np.asarray(predicted.label_ids), counted)
            statistics = span_statistics(truth, spans(np.asarray(predicted.predictions), counted))
            return {
                name: measure(SPAN_METRICS[name], statistics) for name in {"entity_f1", primary}
            }

        return compute

    def predictions(
        self, texts: Sequence[str], scores: Sequence[FloatArray], config: PretrainedConfig
    ) -> list[Prediction]:
        """One per text, of the (W, C) scores of its words; a word with no score is outside.

        The score of a type is that of the surest word that is tagged with it.
        """
        names = output_order(config)
        types = dict.fromkeys(kind for kind in map(type_of, names) if kind is not None)
        found = []
        for text, of_words in zip(texts, scores, strict=True):
            best, sure = of_words.argmax(axis=1).tolist(), of_words.max(axis=1).tolist()
            tags = [names[b] if s > 0 else OUTSIDE for b, s in zip(best, sure, strict=True)]
            surest = dict.fromkeys(types, 0.0)
            for kind, score in zip(map(type_of, tags), sure, strict=True):
                if kind is not None:
                    surest[kind] = max(surest[kind], score)
            found.append(Prediction(tagged(words_of(text), spans_of_tags(tags)), surest))
        return found

    def by_pipeline(self, pipe: Any, contents: Sequence[Any]) -> list[Prediction]:
        """From the likeliest tag at the first piece of each word, window by window."""
        names = output_order(pipe.model.config)
        found = [np.zeros((len(words_of(text)), len(names)), np.float32) for text in contents]
        windows = windows_of(pipe.tokenizer, contents)
        rows = encoded(pipe.tokenizer, windows)
        for window, row in zip(windows, rows, strict=True):
            said = {one["index"]: one for one in pipe(window.text, ignore_labels=[])}
            for number in window.own:
                one = said.get(row["first_pieces"][number - window.first])
                if one is not None:
                    found[window.row][number, names.index(one["entity"])] = one["score"]
        return self.predictions(contents, found, pipe.model.config)


HEADS: Mapping[str, RowHead] = {
    "label": LabelHead(),
    "labels": LabelSetHead(),
    "number": NumberHead(),
}
"""Name of an answer about a row as a whole -> its head."""
SPANS_HEAD = SpansHead()


@dataclass(frozen=True)
class TranscriptHead:
    """Letters per frame, or words one after the other: `finetune.speech` knows which."""

    def outputs(self, names: Sequence[str]) -> list[str]:
        """None: a vocabulary is the tokenizer's."""
        del names
        return []

    def by_pipeline(self, pipe: Any, contents: Sequence[Any]) -> list[Prediction]:
        """Of samples at the rate that the model takes."""
        rate, found = pipe.feature_extractor.sampling_rate, []
        for sound in contents:
            samples = resampled(sound["raw"], sound["sampling_rate"], rate)
            said = pipe({"raw": samples, "sampling_rate": rate})
            found.append(Prediction(one_line(said["text"])))
        return found


ASKED_HEADS: Mapping[str, AskedHead] = {
    **HEADS,
    "spans": SPANS_HEAD,
    "transcript": TranscriptHead(),
}
"""Name of an answer -> what its models end in; those of completions keep the base's end."""


def num_outputs(answer: str, names: Sequence[str]) -> int:
    """How many outputs a model of an answer is given for these names."""
    return len(ASKED_HEADS[answer].outputs(names)) if answer in ASKED_HEADS else 0


def scored_by_pipeline(head: RowHead, pipe: Any, contents: Sequence[Any]) -> list[Prediction]:
    """Predictions from the score that a pipeline gives each of a model's outputs."""
    config = pipe.model.config
    # None means five to a pipeline of images
    options: dict[str, Any] = {"top_k": config.num_labels}
    options |= {"truncation": True} if pipe.tokenizer is not None else {}
    said = [pipe(one, **options) for one in contents]
    scores = [{one["label"]: float(one["score"]) for one in answer} for answer in said]
    ordered = np.array([[row[name] for name in output_order(config)] for row in scores])
    return head.predictions(ordered, config)


def output_layer(model: nn.Module) -> nn.Linear | None:
    """The last linear layer of a model with a head, which makes the logits."""
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    return layers[-1] if layers else None


def best_thresholds(
    scores: NDArray[np.float64], truth: NDArray[np.float64], *, over_all: bool = False
) -> Any:
    """(C,) the threshold of each label with the best F1 on (N, C) scores and indicators.

    With `over_all` it is F1 over all decisions at once, in which a rare label is seldom worth its
    false alarms. A threshold lies halfway between two scores. A label without a row keeps 0.5.
    """
    labels = [place for place in range(scores.shape[1]) if truth[:, place].any()]
    cuts = {place: _Cuts.of(scores[:, place], truth[:, place]) for place in labels}
    taken = {place: int(np.argmax(cut.f1)) for place, cut in cuts.items()}
    if over_all and labels:
        taken = _best_over_all(cuts, taken)
    chosen = np.full(scores.shape[1], THRESHOLD)
    for place, count in taken.items():
        chosen[place] = cuts[place].threshold(count)
    return chosen


@dataclass(frozen=True)
class _Cuts:
    """One label given to so many rows of the highest scores: 0 to N, and how many of them have it.

    Rows of one score stand together; a count that would part them is never the best.
    """

    ranked: NDArray[np.float64]
    hits: NDArray[np.float64]
    possible: NDArray[np.bool_]
    positives: float

    @classmethod
    def of(cls, scores: NDArray[np.float64], truth: NDArray[np.float64]) -> "_Cuts":
        order = np.argsort(-scores, kind="stable")
        ranked = scores[order]
        ends = np.r_[True, ranked[1:] < ranked[:-1], True]
        return cls(ranked, np.r_[0.0, np.cumsum(truth[order])], ends, float(truth.sum()))

    @property
    def counts(self) -> NDArray[np.float64]:
        return np.arange(len(self.hits), dtype=np.float64)

    @property
    def f1(self) -> NDArray[np.float64]:
        f1: NDArray[np.float64] = 2 * self.hits / (self.counts + self.positives)
        return np.where(self.possible, f1, -1.0)

    def gain(self, f1: float) -> NDArray[np.float64]:
        """What each count adds to an F1 of all decisions that is so high already."""
        return np.where(self.possible, 2 * self.hits - f1 * self.counts, -np.inf)

    def threshold(self, count: int) -> float:
        """Halfway between the last row that is given the label and the next."""
        above = self.ranked[count - 1] if count else 1.0
        below = self.ranked[count] if count < len(self.ranked) else 0.0
        return float(np.clip((above + below) / 2, 1e-4, 1 - 1e-4))


def _best_over_all(cuts: Mapping[int, _Cuts], taken: dict[int, int]) -> dict[int, int]:
    """Counts of the best F1 over all decisions, by Dinkelbach's steps: each is no worse than before
    and the last is the best there is."""
    while True:
        hits = sum(cuts[place].hits[count] for place, count in taken.items())
        total = sum(cuts[place].positives + count for place, count in taken.items())
        found = {p: int(np.argmax(cut.gain(2 * hits / total))) for p, cut in cuts.items()}
        after = 2 * sum(cuts[p].hits[n] for p, n in found.items())
        after /= sum(cuts[p].positives + n for p, n in found.items())
        if after <= 2 * hits / total:
            return taken
        taken = found


def output_order(config: PretrainedConfig) -> list[str]:
    """The names of the model's outputs, in their order."""
    return [str(config.id2label[index]) for index in range(len(config.id2label))]


def label_predictions(scores: Any, names: Sequence[str]) -> list[Prediction]:
    """(N, C) probabilities in the order of the names, as the likeliest name of each row."""
    rows = [dict(zip(names, (float(score) for score in row), strict=True)) for row in scores]
    return [Prediction(max(row, key=row.__getitem__), row) for row in rows]


def label_ids(rows: Sequence[Row], label_names: Sequence[str]) -> list[int]:
    """The index of each row's label. Raises DataError for a label that is not among the names."""
    ids = {name: index for index, name in enumerate(label_names)}
    unknown = sorted({str(row["label"]) for row in rows} - set(ids))
    if unknown:
        raise DataError(
            "Rows have labels that are not among the round's label names.",
            got=", ".join(unknown[:10]),
            do="run collect and prepare again: they write the label names",
        )
    return [ids[row["label"]] for row in rows]


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(values, -60, 60)))
    return result
