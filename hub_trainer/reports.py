"""What a stage hands on as JSON: dataclasses that write themselves and are read back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

Metrics = Mapping[str, Mapping[str, float]]
"""Name of a metric -> its value with the ends of its interval: `value`, `low`, `high`."""
RESULTS_FORM = 3
"""Of results.json. 2 held the answer's detail, and what is known of a model that writes, beside the
metrics; 1 knew no baseline but the base model."""


@dataclass(frozen=True)
class DatasetReport:
    """One split that a round has read, at a commit of its repo."""

    repo_id: str
    commit_sha: str
    config: str | None = None
    split: str = "train"
    role: str = "train"
    """What its rows are for: train, test or validation."""
    rows: int = 0
    """Canonical rows of it that the round took."""
    license: str | None = None
    """As its card names it, several joined by commas; None where it names none."""
    card_url: str | None = None
    hub_id: str | None = None
    """The Hub's id of the repo; with its owner in round.json alone."""
    owner: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As the manifest of collect and round.json hold it."""
        content = asdict(self)
        for name in ("hub_id", "owner"):
            if content[name] is None:
                del content[name]
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "DatasetReport":
        """What `to_json` wrote; earlier versions had fewer fields."""
        return cls(**_known(cls, content))


@dataclass(frozen=True)
class CollectReport:
    """What collect hands on of the datasets that it has read."""

    label_names: Sequence[str]
    """In the order of the datasets' classes; empty for answers without names."""
    datasets: Sequence[DatasetReport]
    features: Mapping[str, str] = field(default_factory=dict)
    """A table's features: number, category, date or boolean."""
    dropped: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Source -> reason -> rows that were left out."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """The same over all sources."""
    first_left_out: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Source -> the first of its rows that were left out: number of the row from 1, and reason."""
    warnings: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """As the manifest of collect holds it."""
        content = {one.name: getattr(self, one.name) for one in fields(self)}
        return {**content, "datasets": [one.to_json() for one in self.datasets]}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "CollectReport":
        """What `to_json` wrote; earlier versions said less of what was left out."""
        datasets = [DatasetReport.from_json(one) for one in content["datasets"]]
        return cls(**{**_known(cls, content), "datasets": datasets})


@dataclass(frozen=True)
class PrepareReport:
    """What prepare hands on of the examples that it has made."""

    label_names: Sequence[str]
    rows: Mapping[str, int]
    """Split -> examples."""
    features: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Split -> name of a label, or of a kind of row -> examples."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Reason -> rows that were left out, in collect and here."""
    leakage: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """`train in test` and the like -> copies that were left out."""
    duplicates: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Reason -> rows that were left out here."""
    losses: Sequence[str] = ()
    """Those of them that are many, in words."""
    notes: Sequence[str] = ()
    """What a person should know of the rows that are left."""
    personal_data: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Split -> kind of personal data -> rows in which it was found."""

    def to_json(self) -> dict[str, Any]:
        """As the manifest of prepare holds it."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "PrepareReport":
        """What `to_json` wrote; earlier versions said less of what was left out."""
        return cls(**_known(cls, content))


@dataclass(frozen=True)
class FitReport:
    """One training run, in numbers: over every process and every resume that led to the result."""

    method: str
    rows: int
    """Rows of the training split."""
    tokens: int | None
    """Real tokens seen in training, padding not counted; None where rows have no tokens."""
    seconds: float
    """The training loop alone: no start-up, no evaluation, no checkpoint."""
    rows_per_second: float
    """Rows seen in training, each epoch counted, by those seconds."""
    tokens_per_second: float | None
    peak_mb: float
    """Largest resident (or GPU) memory of the process, in MiB."""
    trainable_parameters: int
    epochs: float
    num_processes: int
    steps: int | None = None
    best_metric: float | None = None
    resumed_from: int | None = None
    """The step of the checkpoint that the last process went on from."""
    bit_reproducible: bool = True
    """The same run again gives the same weights to the last bit: a CPU, one environment."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Logged values in order of steps, for the training curve."""
    evaluation_seconds: float = 0.0
    checkpoint_seconds: float = 0.0
    per_device_train_batch_size: int | None = None
    gradient_accumulation_steps: int | None = None
    threshold: Mapping[str, Any] | None = None
    """The threshold of the label that is looked for, what was wanted of it, and its sensitivity and
    specificity on the validation rows; None for a model that gives the likeliest label."""
    fused: dict[str, Any] | None = None
    """What a soup of checkpoints gave: method, metric, score, parts by step, and whether it was
    kept; None where none was made."""
    notes: tuple[str, ...] = ()
    """What a reader should know: skipped steps, memory that ran out, another environment."""

    def to_json(self) -> dict[str, Any]:
        """As fit.json holds it."""
        return {**asdict(self), "notes": list(self.notes)}

    def summary(self) -> dict[str, Any]:
        """The same without the curve, as round.json holds it."""
        return {name: value for name, value in self.to_json().items() if name != "history"}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "FitReport":
        """A report as `to_json` wrote it; earlier versions had fewer fields, or others."""
        known = _known(cls, content)
        return cls(**{**known, "notes": tuple(known.get("notes") or ())})


@dataclass(frozen=True)
class TuneReport:
    """A search over settings: what was tried, what is chosen, and by which score."""

    metric: str
    """On the validation rows; what chose is no measurement."""
    score: float
    search: Mapping[str, Mapping[str, Any]]
    """Key of the recipe -> its range, as the recipe writes it."""
    chosen: Mapping[str, Any]
    """Key of the recipe -> the value that the train stage takes; none where no trial was better
    than the recipe as it is, which then stays."""
    importances: Mapping[str, float]
    """Key -> share of the scores' variance that it explains; empty where that is unknown."""
    best_trial: int | None
    trials: Mapping[str, int]
    """How many were done, pruned, failed, and cut off, which were tried again."""
    seconds: float
    """Over all processes of the search, one after the other."""
    written_score: float | None = None
    """Of the recipe as it is, which is tried beside the trials; None where that failed."""

    def to_json(self) -> dict[str, Any]:
        """As tune.json and round.json hold it."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "TuneReport":
        """What `to_json` wrote."""
        return cls(**_known(cls, content))


@dataclass(frozen=True)
class BaselineResult:
    """What is reached without this round's training."""

    name: str
    """constant, base or probe."""
    description: str
    metrics: Metrics


@dataclass(frozen=True)
class ComparisonResult:
    """The new model against the published one in the primary metric, on the same examples."""

    p_value: float
    difference: Mapping[str, float]
    method: str | None = None
    mcnemar_p_value: float | None = None
    """Where every score is 0 or 1."""


@dataclass(frozen=True)
class ValidationResult:
    """The metrics on the validation rows, which chose the checkpoint."""

    num_examples: int = 0
    metrics: Metrics | None = None
    """None where there are no such rows."""


@dataclass(frozen=True)
class WritingResult:
    """What is known besides of a model that writes."""

    sampling: Mapping[str, Any]
    """How answers were written: the recipe's `evaluate.generation`."""
    answers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """new, published, base -> `mean_tokens` and `finished_fraction` of those that wrote."""
    num_scored: Mapping[str, int] = field(default_factory=dict)
    """Metric -> examples that it can score."""
    unscored: Sequence[str] = field(default_factory=list)
    """Which of the others a model cannot be asked about, and why, in words."""
    win_rate: Mapping[str, Any] | None = None
    """Against the published model."""
    crowd: Sequence[Mapping[str, Any]] = ()
    """Win rates of pairs of models, by what raters said of blind pairs."""

    def to_json(self) -> dict[str, Any]:
        """As results.json and round.json hold it."""
        return {**asdict(self), "crowd": [dict(one) for one in self.crowd]}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "WritingResult":
        """What `to_json` wrote."""
        return cls(**_known(cls, content))


@dataclass(frozen=True)
class Results:
    """What evaluate hands on: metrics of every model on the sealed examples, and the verdict."""

    primary: str
    metrics: Metrics
    num_examples: int
    gate: Mapping[str, Any]
    """The gate's decision, with `alpha` and `look`."""
    answer: str = "label"
    """Name of what the model predicts."""
    num_rows: int | None = None
    """Sealed rows, where several ask one question."""
    published: Metrics | None = None
    """None before the first promotion."""
    baselines: Sequence[BaselineResult] = ()
    comparison: ComparisonResult | None = None
    validation: ValidationResult = field(default_factory=ValidationResult)
    examples: Sequence[Mapping[str, str]] = ()
    """A few validation rows with what the model says of them."""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """What the answer says beyond the metrics."""
    writing: WritingResult | None = None
    """None for a model that nobody talks with."""

    @property
    def base(self) -> BaselineResult | None:
        """The base model as it is, where weights of one were changed."""
        return next((one for one in self.baselines if one.name == "base"), None)

    @property
    def verdict(self) -> str:
        """promote, hold or reject."""
        return str(self.gate["verdict"])

    def to_json(self) -> dict[str, Any]:
        """As results.json holds it."""
        content = {one.name: getattr(self, one.name) for one in fields(self)}
        return {
            "form": RESULTS_FORM,
            **content,
            "baselines": [asdict(one) for one in self.baselines],
            "comparison": asdict(self.comparison) if self.comparison else None,
            "validation": asdict(self.validation),
            "examples": [dict(one) for one in self.examples],
            "writing": self.writing.to_json() if self.writing else None,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Results":
        """Results of this form or an earlier one."""
        if content.get("form", 0) < RESULTS_FORM:
            content = _from_flat_results(content)
        known = _known(cls, content)
        if content.get("writing"):  # what is written was of no named kind once
            known["answer"] = content.get("answer") or "completion"
        comparison, writing = content.get("comparison"), content.get("writing")
        return cls(
            **{
                **known,
                "baselines": [BaselineResult(**one) for one in content["baselines"]],
                "comparison": ComparisonResult(**comparison) if comparison else None,
                "validation": ValidationResult(**(content.get("validation") or {})),
                "writing": WritingResult.from_json(writing) if writing else None,
            }
        )


def _from_flat_results(content: Mapping[str, Any]) -> dict[str, Any]:
    """Results of form 1 or 2 in today's: all was beside all."""
    writes = "answers" in content
    base = content.get("base")
    baselines = content.get("baselines")
    if baselines is None:
        baselines = [{"name": "base", **base}] if base else []
    named = {one.name for one in fields(Results)}
    inner = {one.name for one in fields(WritingResult)}
    return {
        **{name: value for name, value in content.items() if name in named},
        "answer": None if writes else content.get("answer", "label"),
        "baselines": baselines,
        "writing": {name: content[name] for name in inner & content.keys()} if writes else None,
        "detail": {
            name: value for name, value in content.items() if name not in {*named, *inner, "base"}
        },
    }


def _known(cls: type[Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a dataclass that there are; other versions had fewer, or others."""
    return {one.name: content[one.name] for one in fields(cls) if one.name in content}


@dataclass(frozen=True)
class ModelPlace:
    """Where a round's model is; None while it is nowhere."""

    repo_id: str | None = None
    commit_sha: str | None = None
    pull_request: int | None = None
    """Number of the one that holds it, when it was not promoted."""
    url: str | None = None
    """Page of that pull request."""


@dataclass(frozen=True)
class RoundResult:
    """What is known of a round, from its folder or from the Hub; None of stages not yet run."""

    round: int
    model: ModelPlace
    verdict: str | None = None
    reasons: Sequence[str] = ()
    parent: str | None = None
    baselines: Sequence[Mapping[str, Any]] | None = None
    metrics: Metrics | None = None
    published: Metrics | None = None
    """Those of the model that was published before, on the same rows."""
    p_value: float | None = None
    win_rate: Mapping[str, float] | None = None
    primary: str | None = None
    num_examples: int | None = None
    round_dir: str | None = None
    """None where the round was made elsewhere."""
    left_out: Mapping[str, Mapping[str, int] | None] | None = None
    """Stage -> reason -> rows; None of a round read from the Hub."""
    tune: Mapping[str, Any] | None = None
    train: Mapping[str, Any] | None = None
    created_at: str | None = None
    """Of a round read from the Hub, as are its datasets."""
    datasets: Sequence[Mapping[str, Any]] | None = None
    start: str | None = None
    """How a run began, of a round that one has made or looked at."""
    new: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it: of where it came from only what that place knows."""
        content = asdict(self)
        for name in ("left_out", "created_at", "datasets"):
            if content[name] is None:
                del content[name]
        if self.start is None:
            del content["start"], content["new"]
        return content
