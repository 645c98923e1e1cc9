"""Sentence similarity: two texts in, how alike they are out, by the cosine of their embeddings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from accelerate import PartialState
from transformers import AutoConfig

from hub_trainer.answers import Answer, Prediction, load_answer
from hub_trainer.errors import Problem
from hub_trainer.finetune.classifier import ClassifierFit, fit_classifier, run_digest
from hub_trainer.finetune.classifier_checks import argument_problems, base_problems, loss_problems
from hub_trainer.finetune.label_scores import FloatArray
from hub_trainer.finetune.plan import FitData
from hub_trainer.finetune.reloading import AsUsers, Promised
from hub_trainer.finetune.sentence_pairs import (
    LAYOUT,
    SENTENCES,
    AutoModelForSentenceSimilarity,
)
from hub_trainer.finetune.similarity import (
    COSINES,
    MATCHES_HEAD,
    SIMILARITY_HEAD,
    TEXTS,
    Embedded,
    by_features,
    embedded,
    line_of,
    line_through,
    load_encoder,
    new_encoder,
    objective_for,
    save_encoder,
    similarity_data,
)
from hub_trainer.finetune.tokenizers import limit_of, load_tokenizer, unread_of_text
from hub_trainer.metrics.retrieval import RETRIEVAL_METRICS
from hub_trainer.recipe import Recipe
from hub_trainer.reports import FitReport
from hub_trainer.tasks import (
    ESTIMATOR_KEYS,
    LANGUAGE_KEYS,
    NOT_QUANTISED,
    PLAIN,
    Asked,
    BasePredictions,
    ModelCard,
    ModelFolders,
    Progress,
    Row,
    Splits,
    TokenCounts,
    Widgets,
    base_model_problems,
    constant_answer,
    offer_problems,
    unused_problems,
)
from hub_trainer.tasks.outlines import Kind
from hub_trainer.tasks.text_inputs import text_boxes, text_faults

UNUSED_KEYS = (
    "train.mixup",
    "train.class_weights",
    *ESTIMATOR_KEYS,
    "train.arguments.label_smoothing_factor",
    *LANGUAGE_KEYS,
)
MAX_LINE_ROWS = 1_000
"""Rows through whose cosines a line to the target is drawn."""
NO_LAYER = {
    **NOT_QUANTISED,
    "head": "a cosine of embeddings has no layer of its own to learn",
}
UNTOUCHED = (
    "the untouched base model: the cosine of its embeddings, on a line through training rows"
)
USAGE = """\
import torch
from transformers import AutoModel, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{repo_id}", revision="{commit_sha}")
model = AutoModel.from_pretrained("{repo_id}", revision="{commit_sha}")
texts = ["Write the first text here.", "And here the second."]
batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
with torch.no_grad():
    tokens = model(**batch).last_hidden_state
mask = batch["attention_mask"][:, :, None]
mean = (tokens * mask).sum(dim=1) / mask.sum(dim=1)
vectors = mean if model.config.sentence_pooling == "mean" else tokens[:, 0]
first, second = torch.nn.functional.normalize(vectors, dim=1)
cosine, line = float(first @ second), model.config.target_of_cosine
print(cosine, cosine * line["slope"] + line["intercept"])  # the latter in the data's own units

# Or, with the library sentence-transformers:
# model = SentenceTransformer("{repo_id}", revision="{commit_sha}")
# print(model.similarity(*model.encode(texts)))
"""


@dataclass(frozen=True)
class SentenceSimilarity:
    """The pipeline tag `sentence-similarity`.

    A pair's number is learned by the cosine of two embeddings, so that the model is one of
    embeddings; each text is read by itself.
    """

    name: str = "sentence-similarity"
    answer: Answer = load_answer("number")
    converses: None = None
    modality: str = "text"
    beside: tuple[str, ...] = TEXTS[1:]
    """The second text, which every pair has, whether a recipe names its column or not."""
    unfit: ClassVar[Mapping[str, str]] = NO_LAYER
    augmentations: frozenset[str] = frozenset()

    @property
    def metrics(self) -> frozenset[str]:
        """Those of its answer, and those of finding one text by the other."""
        return self.answer.metrics | RETRIEVAL_METRICS.keys()

    @property
    def columns(self) -> Mapping[str, Kind]:
        """Two texts, and how alike they are."""
        return {"text": "text", "text_pair": "text", self.answer.column: "number"}

    @property
    def counts_tokens(self) -> "SentenceSimilarity":
        """A text is cut where the model ends."""
        return self

    def token_counts(self, rows: Sequence[Row], recipe: Recipe, base: ModelFolders) -> TokenCounts:
        """Of the longer text of each row, as each is read by itself."""
        tokenizer = load_tokenizer(base.model, recipe.prepare.max_length)
        texts = [str(row[name]) for row in rows for name in TEXTS]
        if not texts:
            return TokenCounts([], limit_of(tokenizer))
        sizes = [len(ids) for ids in tokenizer(texts, truncation=False, verbose=False)["input_ids"]]
        return TokenCounts(list(map(max, sizes[::2], sizes[1::2])), limit_of(tokenizer))

    def recipe_problems(self, recipe: Recipe, base: ModelFolders | None) -> list[Problem]:
        """What is wrong with the recipe for this task; all of it."""
        problems = offer_problems(self, recipe) + base_model_problems(self, recipe)
        problems += unused_problems(self, recipe, UNUSED_KEYS) + argument_problems(recipe.train)
        problems += loss_problems(recipe.train, SIMILARITY_HEAD.problem_type)
        if base is None:
            return problems
        return problems + base_problems(
            AutoModelForSentenceSimilarity,
            recipe.train,
            base.model,
            max_length=recipe.prepare.max_length,
        )

    def problems(self, row: Row) -> list[str]:
        """What is wrong with one row."""
        return text_faults(row, TEXTS) + self.answer.faults(row.get(self.answer.column))

    def fit(
        self,
        splits: Splits,
        recipe: Recipe,
        out_dir: Path,
        *,
        base: ModelFolders | None,
        progress: Progress,
    ) -> FitReport:
        """Fine-tune an encoder that AutoModel and sentence-transformers load."""
        assert base is not None
        train, column = recipe.train, self.answer.column
        tokenizer = load_tokenizer(base.model, recipe.prepare.max_length)
        model = new_encoder(
            base.model,
            from_weights=train.method_facts.needs_weights,
            seed=train.seed,
            dropout=train.dropout,
        )
        fit = ClassifierFit(
            train=train,
            primary=recipe.evaluate.primary,
            label_names=(),
            run_digest=run_digest(splits, recipe, self.answer),
            progress=progress,
            head=MATCHES_HEAD if train.loss and train.loss.learns_matches else SIMILARITY_HEAD,
            objective=objective_for(train.loss, [row[column] for row in splits.train]),
        )
        data = similarity_data(tokenizer, splits.train, splits.validation, train.loss)
        tuned, report = fit_classifier(model, data, fit, out_dir=out_dir)
        if PartialState().is_main_process:
            known = _some(splits.validation or splits.train)
            found = embedded(tuned, tokenizer, known)
            line = line_through(found.cosines, [row[column] for row in known])
            save_encoder(tuned, tokenizer, out_dir / "model", like=model, line=line)
        return replace(report, notes=(*report.notes, *self._cut_notes(splits, recipe, base)))

    def fit_data(self, splits: Splits, recipe: Recipe, base: ModelFolders) -> FitData:
        """Rows in tokens."""
        tokenizer = load_tokenizer(base.model, recipe.prepare.max_length)
        return similarity_data(tokenizer, splits.train, splits.validation, recipe.train.loss)

    def predict(
        self, folders: ModelFolders, rows: Sequence[Row], asked: Asked = PLAIN
    ) -> list[Prediction]:
        """The cosine of each row's embeddings, on the line that the model holds."""
        del asked
        if not rows:
            return []
        line = line_of(AutoConfig.from_pretrained(folders.model, trust_remote_code=False))
        return self._embedded(folders.model, rows).predictions(line or COSINES)

    def predict_base(
        self,
        splits: Splits,
        rows: Sequence[Row],
        base: ModelFolders | None,
        asked: Asked = PLAIN,
    ) -> BasePredictions:
        """The base's own cosines, on its own line or one through training rows."""
        del asked
        if base is None:
            return constant_answer(self, splits, rows)
        if line_of(AutoConfig.from_pretrained(base.model, trust_remote_code=False)):
            return BasePredictions("the base model as it is", self.predict(base, rows))
        known = _some(splits.train)
        found = self._embedded(base.model, [*known, *rows])
        parts = [
            Embedded(found.first[part], found.second[part])
            for part in (slice(len(known)), slice(len(known), None))
        ]
        line = line_through(parts[0].cosines, [row[self.answer.column] for row in known])
        return BasePredictions(UNTOUCHED, parts[1].predictions(line))

    def features(self, rows: Sequence[Row], base_dir: Path) -> FloatArray:
        """(N, 1) the cosine that a base model gives each row, frozen."""
        return self._embedded(base_dir, rows).cosines[:, None]

    def _cut_notes(self, splits: Splits, recipe: Recipe, base: ModelFolders) -> list[str]:
        notes = []
        for name, rows in (("training", splits.train), ("validation", splits.validation)):
            sizes = self.token_counts(rows, recipe, base)
            cut = sum(count > (sizes.longest or count) for count in sizes.counts)
            if cut:
                notes.append(
                    f"{cut:,} of {len(rows):,} {name} rows have a text of more than "
                    f"{sizes.longest:,} tokens, which was cut at its end"
                )
        return notes

    def _embedded(self, folder: Path, rows: Sequence[Row]) -> Embedded:
        return embedded(*load_encoder(folder), rows)

    def as_users(self, folders: ModelFolders, rows: Sequence[Row], promised: Promised) -> AsUsers:
        """By a pipeline of features, as there is none of pairs."""
        return by_features(folders.model, rows, promised)

    def widgets(self, examples: Sequence[Row]) -> Widgets:
        """A box for each text."""
        del examples
        return text_boxes(TEXTS, purpose="compare", unread=_unread)

    def card(self) -> ModelCard:
        """How to use the model."""
        return ModelCard(
            library_name="sentence-transformers",
            usage=USAGE,
            files=("config.json", "model.safetensors", "tokenizer.json", *LAYOUT),
            auto_class=SENTENCES,
            tags=("sentence-transformers", "sentence-similarity", "feature-extraction"),
        )


def _unread(model_dir: Path, row: Row) -> list[str]:
    found = [one for name in TEXTS for one in unread_of_text(model_dir, str(row[name]))]
    return list(dict.fromkeys(found))


def _some(rows: Sequence[Row]) -> Sequence[Row]:
    """So many rows, spread evenly."""
    return rows[:: max(1, -(-len(rows) // MAX_LINE_ROWS))]


TASK = SentenceSimilarity()
