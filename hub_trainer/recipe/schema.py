"""Schema of a recipe: one frozen section per stage, every key checked."""

import re
from typing import Any, Literal, TypedDict

from pydantic import Field, ValidationInfo, field_validator, model_validator

from hub_trainer.recipe import chat_templates
from hub_trainer.recipe.arguments import argument_faults, nearest, parse_arguments
from hub_trainer.recipe.learning import FuseSection, LossSection
from hub_trainer.recipe.method_table import METHODS, Method, MethodName
from hub_trainer.recipe.section import Section
from hub_trainer.recipe.value_words import written

COMMIT_SHA = re.compile(r"[0-9a-f]{40}")
REPO_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$")


class RepoRef(Section):
    """A repo on the Hub; the plain string `org/name` or `org/name@revision` will do."""

    in_text = "org/name"

    repo_id: str
    """Owner and name, as in `org/name`."""
    revision: str = "main"
    """Branch, tag or commit sha; the round pins what it resolves to."""

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        repo_id, _, revision = value.partition("@")
        return {"repo_id": repo_id, "revision": revision or "main"}

    @field_validator("repo_id")
    @classmethod
    def _is_repo_id(cls, value: str) -> str:
        if not REPO_ID.match(value):
            raise ValueError(f"{value!r} is not a repo id; write owner/name")
        return value


class DatasetSource(RepoRef):
    """Rows of one split of a dataset repo."""

    config: str | None = None
    """Which of the dataset's configs; None when it has only one."""
    split: str = "train"
    """A split, or a slice of one as in `train[:500]`."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Our column: the dataset's column, for those whose names differ."""
    drop_columns: list[str] = Field(default_factory=list)
    """Columns the model must not see, as those computed from the label. `evaluate.slices` may name
    them all the same."""
    fraction: float = Field(1.0, gt=0, le=1)
    """Share of the rows to take, chosen by the round's seed."""


class CollectSection(Section):
    """Which rows come in."""

    datasets: list[DatasetSource] = Field(min_length=1)
    """Dataset repos whose rows are joined, in this order."""
    ratings: RepoRef | None = None
    """The dataset of ratings that curate reads; `null` is that of `serve`."""


class Deduplicate(Section):
    """When two rows count as one."""

    near: float | None = Field(0.85, gt=0, le=1)
    """Similarity in (0, 1] from which rows are near duplicates; null compares exactly only."""


class PrepareSection(Section):
    """How rows become examples."""

    clean: bool = True
    """Normalise Unicode and white space, and drop rows that are empty or broken."""
    deduplicate: Deduplicate | None = Deduplicate()
    """Drop exact and near duplicates; null keeps them."""
    test_split: DatasetSource | None = None
    """The sealed test rows; null holds `test_fraction` of the collected rows back instead."""
    test_fraction: float = Field(0.2, gt=0, lt=1)
    """Share held back as test when no test_split is named, chosen by the content of each row."""
    validation_split: DatasetSource | None = None
    """Validation rows; null takes `validation_fraction` of the training rows."""
    validation_fraction: float = Field(0.1, gt=0, lt=1)
    """Share of the training rows used to choose the best checkpoint."""
    augment: list[str] = Field(default_factory=list)
    """Augmentations of the training rows, by the names the task offers."""
    max_length: int | None = Field(None, gt=0)
    """Tokens per example; null is what the base model takes."""
    too_long: Literal["cut", "drop", "refuse"] | None = None
    """What becomes of training and validation rows with more tokens: cut (their end is left out,
    and what was cut off teaches no end), drop, or refuse, which names the first; null is cut."""


class LoraSection(Section):
    """PEFT's LoraConfig, its own names."""

    r: int = Field(16, gt=0)
    """Rank of the two factors."""
    lora_alpha: int = Field(32, gt=0)
    """Scale: the update is multiplied by lora_alpha / r."""
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout before the first factor."""
    target_modules: str | list[str] = "all-linear"
    """Names of the layers that get an adapter."""
    use_rslora: bool = False
    """Scale by lora_alpha / sqrt(r) instead."""


class HybridSection(Section):
    """Some blocks of the base model and some new ones."""

    new_blocks: int = Field(1, ge=0)
    """Blocks nearest to the output that start from random weights, as the head does."""
    unfreeze_epochs: float | None = Field(None, gt=0)
    """Epochs after which one more block of the base begins to learn, from the output down to the
    embeddings; null, all learn from the start."""


class LanguageSection(Section):
    """How a language model learns from examples, ratings or preferences."""

    train_on: Literal["completion", "assistant", "all"] | None = None
    """What is learned of a demonstration; null is the answer to a prompt, the assistant's turns of
    a dialogue, and all of a text."""
    loss_type: Literal["nll", "sigmoid", "ipo", "robust", "kto", "apo_zero_unpaired"] | None = None
    """The loss by its name in TRL; null is nll, sigmoid or kto, as the rows are."""
    beta: float = Field(0.1, gt=0)
    """How strongly preferences and ratings hold the model to where it started."""
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """The share of preferences that are flipped, for the loss robust."""
    desirable_weight: float | None = Field(None, gt=0)
    """Weight of desirable answers; null is set by the counts."""
    undesirable_weight: float | None = Field(None, gt=0)
    """Weight of undesirable answers; null is set by the counts."""
    quantization: Literal["4bit", "8bit"] = "4bit"
    """How the base model's weights are held under method qlora."""
    merge: bool = False
    """Fold the adapter into the base model and publish the whole; else the adapter is published."""
    chat_template: str | None = None
    """How dialogues are written down, for a base model that does not say: chatml or plain, which
    ship here, or a file of Jinja beside the recipe. It takes the place of a template that the base
    model has, and is published with the model; null is the base model's."""

    @field_validator("chat_template")
    @classmethod
    def _is_a_template(cls, value: str | None) -> str | None:
        return None if value is None else chat_templates.by_name(value)


class SpeechSection(Section):
    """How a model learns to write down speech."""

    language: str | None = None
    """What is spoken, for a model of many languages: its code, as in `sw`, or its English name. It
    is written into the model, which is then asked for that language alone."""


class GenerationSection(Section):
    """How answers are written; greedily unless a temperature is given."""

    max_new_tokens: int = Field(128, gt=0)
    """Tokens after which an answer is cut."""
    temperature: float | None = Field(None, gt=0)
    """Spread of the choice among tokens; null always takes the likeliest."""
    top_k: int | None = Field(None, gt=0)
    """Choose among this many of the likeliest tokens; null is all."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Choose among the likeliest tokens that together have this probability."""

    @model_validator(mode="after")
    def _greedy_needs_no_choice(self) -> "GenerationSection":
        if self.temperature is None and (self.top_k is not None or self.top_p < 1):
            raise ValueError("top_k and top_p change nothing without a temperature; name one")
        return self


class MethodSettings(TypedDict):
    """Arguments of a method."""

    lora: dict[str, Any] | None
    """Those of peft's LoraConfig."""
    last_n: int | None
    new_blocks: int
    """Last blocks that start anew."""


class EarlyStopping(Section):
    """When training stops before its last epoch."""

    patience: int = Field(gt=0)
    """Evaluations without improvement after which training stops."""
    min_change: float = Field(0.0, ge=0)
    """Smallest improvement of the primary metric that counts as one."""


class TrainSection(Section):
    """How the base model is changed."""

    method: MethodName = "full"
    """Which parameters learn: head, last_n blocks, all, adapters, a new model's, or, under hybrid,
    those of some blocks of the base and of some new ones."""
    last_n: int | None = Field(None, gt=0)
    """Blocks that learn under method last_n, counted from the output."""
    lora: LoraSection | None = None
    """Adapters, for the methods lora and qlora; their defaults when null."""
    hybrid: HybridSection | None = None
    """How much of the base is new, and when the rest learns, for the method hybrid; its defaults
    when null."""
    layer_decay: float | None = Field(None, gt=0, lt=1)
    """Learning rate of each block as a share of that of the next one to the output, the head having
    `learning_rate`; null is one rate for all."""
    l1: float = Field(0.0, ge=0)
    """Strength of an L1 penalty on weight matrices, by proximal steps: weights become exactly zero.
    L2 is `arguments.weight_decay`."""
    dropout: float | None = Field(None, ge=0, lt=1)
    """Share of the units that every dropout of the model leaves out; null is what its base has."""
    mixup: float | None = Field(None, gt=0)
    """Classification: each example is mixed with another, by a share drawn from Beta(mixup, mixup)
    anew in every epoch; 0.2 mixes little, 1 evenly. Null mixes none."""
    loss: LossSection | None = None
    """What is minimised; null is cross-entropy of labels, squared error of numbers."""
    estimator: str | None = None
    """Tabular tasks: which scikit-learn estimator."""
    estimator_arguments: dict[str, Any] = Field(default_factory=dict)
    """Tabular tasks: the estimator's own arguments."""
    language: LanguageSection | None = None
    """Language models: what is learned, and by which loss; the usual when null."""
    speech: SpeechSection | None = None
    """Speech recognition: which language a model of many is taught."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Any TrainingArguments key, its own name."""
    early_stopping: EarlyStopping | None = None
    """Stop when the primary metric on the validation split stands still; null never stops early."""
    fuse: FuseSection | None = None
    """Make one model of several: of checkpoints, or for tables of estimators. Null takes the best
    checkpoint, or the one estimator."""
    class_weights: bool = False
    """Weigh rare labels up, so that each label counts the same; where rows have sets of labels, so
    that having one counts as much as not having it."""
    profile: bool = False
    """Write a PyTorch Profiler trace of a few steps and a summary of where the time went."""
    seed: int = 0
    """Seed of every random choice of the round."""

    @property
    def method_facts(self) -> Method:
        """What the method starts from and what it changes; ask this and not its name."""
        return METHODS[self.method]

    @property
    def method_settings(self) -> MethodSettings:
        """What shapes the method, as `apply_method` takes it."""
        hybrid = self.hybrid or HybridSection()
        return MethodSettings(
            lora=self.lora.model_dump() if self.lora else None,
            last_n=self.last_n,
            new_blocks=hybrid.new_blocks if self.method_facts.new_blocks else 0,
        )

    @field_validator("arguments")
    @classmethod
    def _are_training_arguments(cls, value: dict[str, Any]) -> dict[str, Any]:
        faults = argument_faults(value)
        if faults:
            raise ValueError("\n".join(faults))
        return parse_arguments(value)

    @model_validator(mode="after")
    def _method_has_its_keys(self) -> "TrainSection":
        facts, vain = self.method_facts, f"changes nothing under method: {self.method}; remove one"
        faults = []
        if facts.last_blocks != (self.last_n is not None):
            faults.append("last_n goes with method: last_n, and that method needs it")
        if self.fuse is not None and self.arguments.get("eval_strategy") == "no":
            faults.append("fuse needs validation figures; remove it, or eval_strategy: no")
        if self.fuse is not None and self.fuse.of_adapters and not facts.adapter:
            text = f"fuse {self.fuse.method} joins adapters, and method: {self.method} makes none"
            faults.append(f"{text}; use lora or qlora, or a soup")
        if self.fuse is not None and self.fuse.of_estimators:
            own = {"estimator": self.estimator, "estimator_arguments": self.estimator_arguments}
            text = "changes nothing beside an ensemble; write it into fuse.estimators"
            faults += [f"{key} {text}" for key, value in own.items() if value]
        if self.lora is not None and not facts.adapter:
            faults.append(f"lora {vain}")
        if self.hybrid is not None and not facts.new_blocks:
            faults.append(f"hybrid {vain}")
        if self.layer_decay is not None and not facts.learns_in_depth:
            faults.append(f"layer_decay {vain}")
        if faults:
            raise ValueError("\n".join(faults))
        return self


class SearchRange(Section):
    """The values of one setting that are tried: from `low` to `high`, or `choices`."""

    low: int | float | None = None
    """The smallest value."""
    high: int | float | None = None
    """The largest value."""
    log: bool = False
    """Spread the tries evenly over orders of magnitude, as suits a learning rate."""
    step: int | float | None = Field(None, gt=0)
    """Distance of one value to the next; null is any value, and 1 where all are whole numbers."""
    choices: list[bool | int | float | str | None] = Field(default_factory=list)
    """The values one by one, in place of `low` and `high`."""

    @property
    def ends(self) -> list[Any]:
        """The values that are checked before any is tried: both ends, or all choices."""
        return self.choices or [self.low, self.high]

    @model_validator(mode="after")
    def _holds_two_values(self) -> "SearchRange":
        spans = self.low is not None or self.high is not None
        if spans and self.choices:
            raise ValueError("has low and high, and choices; write one or the other")
        if not spans:
            if len({repr(one) for one in self.choices}) < max(2, len(self.choices)):
                raise ValueError("needs low and high, or two choices or more that differ")
            if self.log or self.step:
                raise ValueError("log and step change nothing beside choices; remove them")
            return self
        if self.low is None or self.high is None or self.low >= self.high:
            ends = f"{written(self.low)} and {written(self.high)}"
            raise ValueError(f"needs low below high, got {ends}")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs low above 0, got {self.low}")
        if self.log and self.step:
            raise ValueError("log and step do not go together; remove one")
        if self.step and self.high - self.low < self.step:
            raise ValueError(f"step {self.step} is wider than from {self.low} to {self.high}")
        return self


class TuneSection(Section):
    """Search over settings of `train` before the round's own training."""

    trials: int | None = Field(0, ge=0)
    """Settings to try; 0 searches nothing, and null tries as many as `minutes` leave time for."""
    minutes: float | None = Field(None, gt=0)
    """Minutes after which no trial begins any more; null is no limit."""
    workers: int = Field(1, gt=0)
    """Processes that try settings side by side."""
    search: dict[str, SearchRange] = Field(default_factory=dict)
    """What is tried: key of the recipe, as in `train.arguments.learning_rate` -> its values."""

    @property
    def is_on(self) -> bool:
        """Whether anything is searched."""
        return self.trials != 0

    @field_validator("search", mode="before")
    @classmethod
    def _by_whole_keys(cls, value: Any) -> Any:
        """Nested as an override nests it, `{train: {lora: {r: ...}}}`, is the same."""
        return flat_keys(value) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _has_a_budget(self) -> "TuneSection":
        if self.trials is None and self.minutes is None:
            raise ValueError("trials: null needs minutes, or the search would never end")
        if self.trials == 0 and self.minutes is not None:
            raise ValueError("minutes changes nothing with trials: 0; write trials: null")
        if self.is_on and not self.search:
            raise ValueError("names nothing to search; write search, or trials: 0")
        return self


def flat_keys(nested: dict[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key -> the mapping of a range, however the keys above it are nested; what is written
    twice is joined, the later over the earlier."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        name, inner = f"{prefix}{key}", value.values() if isinstance(value, dict) else ()
        is_above = bool(inner) and all(isinstance(one, dict) for one in inner)
        for whole, one in (flat_keys(value, f"{name}.") if is_above else {name: value}).items():
            earlier = found.get(whole)
            joins = isinstance(earlier, dict) and isinstance(one, dict)
            found[whole] = {**earlier, **one} if joins else one  # type: ignore[dict-item]
    return found


class Threshold(Section):
    """From which probability on a model gives the label that is looked for."""

    sensitivity: float = Field(gt=0, le=1)
    """Share of the rows with the label `evaluate.positive` that are to be given it, as 0.95. The
    largest probability that finds so many of the validation rows becomes the model's threshold."""


class EvaluateSection(Section):
    """How the model is measured on the sealed test split."""

    metrics: list[str] = Field(min_length=1)
    """Metric names; see docs/recipe.md for those of each task."""
    primary: str
    """The metric that chooses the checkpoint and that the gate compares."""
    positive: str | None = Field(None, min_length=1)
    """The label that is looked for, as `disease`: sensitivity and specificity are of it, and so are
    auroc and average_precision, which are means over all labels without it. Labels 0 and 1 may be
    written so."""
    threshold: Threshold | None = None
    """How the label `positive` is decided, where missing it costs more than a false alarm; null
    gives every row its likeliest label."""
    perturb: bool = True
    """Read up to 1,000 sealed rows once more: with typos, out of focus, or as over a telephone, and
    say what the primary metric loses by it. The gate does not look at that."""
    slices: list[str] = Field(default_factory=list)
    """Columns whose values are compared one by one, beside any labels."""
    generation: GenerationSection | None = None
    """Language models: how the sealed prompts are answered; greedily when null."""
    json_schema: dict[str, Any] | None = None
    """Language models: what the metric json_schema holds answers to, a JSON Schema."""

    @field_validator("positive", mode="before")
    @classmethod
    def _is_a_name(cls, value: Any) -> Any:
        is_number = isinstance(value, int) and not isinstance(value, bool)
        return str(value) if is_number else value

    @field_validator("primary")
    @classmethod
    def _is_measured(cls, value: str, info: ValidationInfo) -> str:
        metrics = info.data.get("metrics")  # none where they are themselves at fault
        if metrics and value not in metrics:
            named = ", ".join(metrics)
            raise ValueError(f"{value!r} is not among metrics: {named}.{nearest(value, metrics)}")
        return value


class GateSection(Section):
    """When a model may replace the published one."""

    alpha: float = Field(0.05, gt=0, lt=0.5)
    """Chance of promoting a model that is no better, over all rounds together."""
    min_slice_change: float = Field(-0.03, le=0)
    """Largest change for the worse that is let through on a slice, in units of its scores.
    0.03 is three points of accuracy, but only 0.03 nats per token of a loss, which is strict: about
    three per cent of perplexity. Give models that are judged by a loss more room, as -0.1."""


class PublishSection(Section):
    """Where the model goes."""

    repo_id: str
    """Model repo, as in `org/name`."""
    private: bool = True
    """Create the repo as private."""
    license: str | None = None
    """Licence of the model; null takes it from the base model, or else from the data."""
    accept_commit: str | None = None
    """A commit on main of the model repo that no round made, and that you have looked at: rounds go
    on from it. Without it, foreign weights, files or history there stop a round."""
    license_name: str | None = Field(None, pattern=r"^[a-z0-9.+-]{1,80}$")
    """With `license: other` the name of those terms; null takes that of a source with its own."""
    license_link: str | None = None
    """Where those terms can be read: an address, or `LICENSE`."""
    notice: str | None = Field(None, min_length=1, max_length=500)
    """What everybody must know who uses the model, as in `Not for medical advice.`: it stands in
    the model's card, in the Space, and beside every answer there. Data whose card is tagged
    medical, health or face-recognition needs one."""

    @model_validator(mode="after")
    def _own_terms_are_other(self) -> "PublishSection":
        if (self.license_name or self.license_link) and self.license != "other":
            raise ValueError("license_name and license_link go with license: other; write that too")
        return self

    _is_repo_id = field_validator("repo_id")(RepoRef._is_repo_id.__func__)  # type: ignore[attr-defined]

    @field_validator("accept_commit")
    @classmethod
    def _is_commit_sha(cls, value: str | None) -> str | None:
        if value is not None and not COMMIT_SHA.fullmatch(value):
            raise ValueError(f"{value!r} is no commit; write its 40 hexadecimal digits")
        return value


class ServeSection(Section):
    """The Space in which people try and rate the model."""

    repo_id: str
    """Space repo, as in `org/name`."""
    hardware: str = "cpu-basic"
    """Hardware flavour on the public Hub."""
    private: bool = True
    """Create the Space and the ratings dataset as private."""
    ratings_repo_id: str
    """Dataset repo that the ratings are packed into."""
    title: str | None = Field(None, min_length=1, max_length=60)
    """The Space's heading; null is the model's name."""
    description: str | None = Field(None, min_length=1, max_length=300)
    """One sentence on what the model does and for whom; null says it by task and labels."""
    generation: GenerationSection | None = None
    """Language models: how the Space's answers are written; as in `evaluate` when null."""
    rival: RepoRef | None = None
    """Language models: another model, or revision, that is shown beside the published one in blind
    pairs."""

    _are_repo_ids = field_validator("repo_id", "ratings_repo_id")(
        RepoRef._is_repo_id.__func__  # type: ignore[attr-defined]
    )


class CurateSection(Section):
    """How ratings become examples."""

    repo_id: str | None = None
    """Dataset repo that gets the pull request; null is the first of collect.datasets."""
    aggregate: Literal["majority", "dawid_skene"] = "majority"
    """How the ratings of several raters become one label."""
    min_raters: int | None = Field(None, gt=0)
    """Raters who must have seen a row before what they say counts; null is 3 for labels, and 1 for
    answers, which seldom two people see."""
    max_ratings_per_rater: int = Field(500, gt=0)
    """Ratings of one rater that count in a round; the earliest are kept."""
    anonymous: Literal["none", "capped"] = "none"
    """What ratings without an account weigh: nothing, or as one rater per network and day, whatever
    the number of sessions."""
    gold: int | None = Field(None, gt=0)
    """Rows of the dataset that a rater must have rated, most of them rightly, before what they say
    of other rows counts; the Space's button Try another shows such rows. Null asks for none."""


class ReviewSection(Section):
    """What a dataset pull request may bring."""

    max_rows: int = Field(50_000, gt=0)
    """Rows of one pull request."""
    max_bytes: int = Field(500_000_000, gt=0)
    """Bytes of one pull request's files."""
    max_duplicate_fraction: float = Field(0.2, ge=0, le=1)
    """Share of rows that may repeat rows of the dataset or of the pull request."""
    max_disagreement: float = Field(0.1, ge=0, le=1)
    """Share of labels that may disagree with the model, beyond what the model gets wrong."""
    max_label_shift: float = Field(0.5, ge=0, le=1)
    """Share of rows that may need another label for the labels to be spread as in the dataset."""
    max_rows_per_contributor: int | None = Field(None, gt=0)
    """Rows of one contributor, merged and new; of more, a person decides. None: half as many as the
    dataset has, and never under 1,000."""


class Recipe(Section):
    """One round of one task."""

    task: str
    """The Hub's pipeline tag, as in `text-classification`."""
    base_model: RepoRef | None = None
    """Model to start from; tabular tasks have none."""
    collect: CollectSection
    prepare: PrepareSection = PrepareSection()
    train: TrainSection = TrainSection()
    tune: TuneSection = TuneSection()
    evaluate: EvaluateSection
    gate: GateSection = GateSection()
    publish: PublishSection
    serve: ServeSection | None = None
    curate: CurateSection = CurateSection()
    review: ReviewSection = ReviewSection()
