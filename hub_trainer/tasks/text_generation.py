"""Text generation: a prompt in, a text out, by a causal language model or an adapter of one."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from hub_trainer.answers import (
    Answer,
    Likelihood,
    Prediction,
    Preference,
    Written,
    load_answer,
)
from hub_trainer.errors import Problem, RowRefused
from hub_trainer.finetune.language.as_users import likelihoods_as_users
from hub_trainer.finetune.language.fit import LanguageFit, fit_language_model
from hub_trainer.finetune.language.generate import Sampling
from hub_trainer.finetune.language.language_faults import language_problems, row_faults
from hub_trainer.finetune.language.preview import read_rows, row_sizes
from hub_trainer.finetune.language.refusals import refused_rows, unwritten_keys
from hub_trainer.finetune.language.serving import ServedModel, dialogue_example, served_model
from hub_trainer.finetune.reloading import AsUsers, Promised
from hub_trainer.inputs.language_examples import example_of
from hub_trainer.recipe import GenerationSection, Recipe
from hub_trainer.reports import FitReport
from hub_trainer.rows.formats import FORMATS
from hub_trainer.rows.language_rows import example_row
from hub_trainer.tasks import (
    ESTIMATOR_KEYS,
    NO_HEAD,
    PLAIN,
    Asked,
    BasePredictions,
    ModelCard,
    ModelFolders,
    Preview,
    Progress,
    Row,
    Segment,
    Splits,
    TokenCounts,
    base_model_problems,
    offer_problems,
    unused_problems,
)
from hub_trainer.tasks.outlines import Kind

UNUSED_KEYS = (
    *ESTIMATOR_KEYS,
    "train.class_weights",
    "train.loss",
    "train.mixup",
    "train.dropout",
    "train.arguments.label_smoothing_factor",
)

USAGE = """\
from transformers import pipeline

generate = pipeline("text-generation", model="{repo_id}", revision="{commit_sha}")
print(generate({prompt}, max_new_tokens=64))
"""
ADAPTER_USAGE = """\
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer, pipeline

model = AutoPeftModelForCausalLM.from_pretrained("{repo_id}", revision="{commit_sha}")
tokenizer = AutoTokenizer.from_pretrained("{repo_id}", revision="{commit_sha}")
generate = pipeline("text-generation", model=model, tokenizer=tokenizer)
print(generate({prompt}, max_new_tokens=64))
"""


@dataclass(frozen=True)
class TextGeneration:
    """The pipeline tag `text-generation`."""

    name: str = "text-generation"
    answer: Answer = load_answer("completion")
    modality: str = "prompt"
    unfit: ClassVar[Mapping[str, str]] = NO_HEAD
    augmentations: frozenset[str] = frozenset()

    @property
    def metrics(self) -> frozenset[str]:
        """Those of its answer."""
        return self.answer.metrics

    @property
    def columns(self) -> Mapping[str, Kind]:
        """`example`: language data in any format that is known."""
        return {"example": "completion"}

    @property
    def converses(self) -> "TextGeneration":
        """A person and the model take turns."""
        return self

    @property
    def counts_tokens(self) -> "TextGeneration":
        """A prompt and its answers are of any length."""
        return self

    def token_counts(self, rows: Sequence[Row], recipe: Recipe, base: ModelFolders) -> TokenCounts:
        """Of a prompt with its longest answer."""
        return TokenCounts(*row_sizes(rows, _fit(recipe, base, _silent)))

    def recipe_problems(self, recipe: Recipe, base: ModelFolders | None) -> list[Problem]:
        """What is wrong with the recipe for this task; all of it."""
        problems = offer_problems(self, recipe) + base_model_problems(self, recipe)
        problems += unused_problems(self, recipe, UNUSED_KEYS)
        folders = None if base is None else (base.model, base.base)
        return problems + language_problems(recipe, folders)

    def problems(self, row: Row) -> list[str]:
        """What is wrong with one row."""
        return row_faults(row)

    def preview(self, rows: Sequence[Row], recipe: Recipe, base: ModelFolders) -> Preview:
        """The rows in tokens, and which of the first one's are learned."""
        encoded, first = read_rows(rows, _fit(recipe, base, _silent))
        answers = [[Segment(*part) for part in answer] for answer in first]
        lengths = encoded.lengths
        return Preview(
            str(rows[0]["label"]),
            answers,
            encoded.num_tokens,
            encoded.num_truncated,
            encoded.num_dropped,
            longest=max(lengths, default=0),
            middling=sorted(lengths)[len(lengths) // 2] if lengths else 0,
        )

    def refusals(
        self, rows: Sequence[Row], recipe: Recipe, base: ModelFolders
    ) -> list[RowRefused | None]:
        """By the tokenizer's chat template, as the rows are trained on and as they are asked."""
        return refused_rows(rows, _fit(recipe, base, _silent))

    def unwritten(
        self, rows: Sequence[Row], recipe: Recipe, base: ModelFolders
    ) -> Mapping[str, int]:
        """Those that the tokenizer's chat template does not write down."""
        return unwritten_keys(rows, _fit(recipe, base, _silent))

    def fit(
        self,
        splits: Splits,
        recipe: Recipe,
        out_dir: Path,
        *,
        base: ModelFolders | None,
        progress: Progress,
    ) -> FitReport:
        """Learn from demonstrations, preferences or ratings, as the rows are."""
        assert base is not None
        fit = _fit(recipe, base, progress)
        return fit_language_model(splits.train, splits.validation, fit, out_dir=out_dir)

    def fit_data(self, splits: Splits, recipe: Recipe, base: ModelFolders) -> None:
        """Rows are packed by their tokens, which `preview` counts."""

    def predict(
        self, folders: ModelFolders, rows: Sequence[Row], asked: Asked = PLAIN
    ) -> list[Prediction]:
        """What the model writes to each prompt; how likely it finds the row's own first answer.

        That is the answer to a prompt, of a preference the chosen one, a dialogue's assistant
        turns, or a whole text. Of a preference it says how likely both are, where that is asked.
        """
        served = served_model(folders.model, folders.base, asked.chat_template)
        examples = [example_of(row) for row in rows]
        found = [Prediction(None)] * len(rows)
        places = range(len(rows)) if asked.answered is None else asked.answered
        prompts = [served.prompt(examples[place]) for place in places]
        answers = served.answers(prompts, _sampling(asked.sampling, asked.seed)) if prompts else []
        for place, prompt, tokens in zip(places, prompts, answers, strict=True):
            text = served.text(prompt, tokens)
            found[place] = Prediction(text, written=Written(len(tokens), served.finished(tokens)))
        weighed = served.likelihoods([examples[place] for place in asked.weighed])
        for place, one in zip(asked.weighed, weighed, strict=True):
            found[place] = replace(found[place], likelihood=Likelihood(*one))
        pairs = served.preferences([examples[place] for place in asked.paired])
        for place, pair in zip(asked.paired, pairs, strict=True):
            found[place] = replace(found[place], preference=pair and Preference(*pair))
        return found

    def predict_base(
        self,
        splits: Splits,
        rows: Sequence[Row],
        base: ModelFolders | None,
        asked: Asked = PLAIN,
    ) -> BasePredictions | None:
        """The base model asked as it is."""
        del splits
        if base is None:
            return None
        return BasePredictions("the base model as it is", self.predict(base, rows, asked))

    def as_users(self, folders: ModelFolders, rows: Sequence[Row], promised: Promised) -> AsUsers:
        """The likelihood of each row's own answer, and a few words by a pipeline or PEFT."""
        return likelihoods_as_users(self.name, folders.model, folders.base, rows, promised)

    def widgets(self, examples: Sequence[Row]) -> None:
        """None: people talk with it."""

    def stream(
        self, folders: ModelFolders, row: Row, sampling: GenerationSection, *, seed: int
    ) -> Generator[str, None, bool]:
        """Each piece as soon as its characters are whole."""
        served = _served(folders)
        prompt = served.prompt(example_of(row))
        return (yield from served.stream(prompt, _sampling(sampling, seed)))

    def prompt_row(self, folders: ModelFolders, turns: Sequence[Mapping[str, str]]) -> Row:
        """The dialogue through the model's chat template, or its last turn as plain text."""
        example = dialogue_example(_served(folders), turns)
        (known,) = (one for one in FORMATS if one.name == "prompt and completion")
        return example_row(known, example)

    def card(self) -> ModelCard:
        """How to use the model."""
        return ModelCard(
            library_name="transformers",
            learns_in_own_dtype=True,
            usage=USAGE,
            files=("config.json", "model.safetensors", "tokenizer.json"),
            auto_class="AutoModelForCausalLM",
            tags=("text-generation",),
            adapter_usage=ADAPTER_USAGE,
        )


def _fit(recipe: Recipe, base: ModelFolders, progress: Progress) -> LanguageFit:
    return LanguageFit(base.model, base.base, recipe.train, recipe.prepare.max_length, progress)


def _silent(share: float, doing: str) -> None:
    """Nobody waits for a preview."""


def _served(folders: ModelFolders) -> ServedModel:
    return served_model(folders.model, folders.base)


def _sampling(sampling: GenerationSection, seed: int) -> Sampling:
    settings: dict[str, Any] = sampling.model_dump()
    return Sampling(**settings, seed=seed)


TASK = TextGeneration()
