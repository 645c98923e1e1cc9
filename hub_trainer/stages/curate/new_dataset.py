"""A dataset for what people say, where there is none yet: its card and its first examples."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from hub_trainer.cards import CardLicence, card_licence
from hub_trainer.cards.metadata import to_yaml
from hub_trainer.errors import Problem
from hub_trainer.hub import Changes, Commit, Hub, Repo
from hub_trainer.inputs import load_input
from hub_trainer.inputs.language_examples import Kind
from hub_trainer.recipe import Recipe
from hub_trainer.rows.formats import FINISHED
from hub_trainer.rows.row_files import WEIGHT
from hub_trainer.stages.curate.curate_context import target_source
from hub_trainer.tasks import outline_for

if TYPE_CHECKING:
    import pyarrow as pa

ANSWERS: Mapping[Kind, tuple[str, ...]] = {
    "sft": ("completion",),
    "dpo": ("chosen", "rejected"),
    "kto": ("completion",),
}
ABOUT = {
    "sft": "Answers as people have edited them.",
    "dpo": "Pairs of answers, the chosen one preferred by people who did not know which was which.",
    "kto": "Answers with what people said of them: label is true for a thumb up.",
}


@dataclass(frozen=True)
class Origin:
    """The ratings that examples come from."""

    ratings: str
    """Dataset and commit."""
    licence: CardLicence | None
    """As the card of the ratings says; None when it says nothing."""


def create_dataset(
    hub: Hub,
    repo_id: str,
    examples: Sequence[Mapping[str, Any]],
    kind: Kind,
    *,
    origin: Origin,
    private: bool,
) -> Commit:
    """Make the dataset with these examples."""
    repo = Repo(repo_id, "dataset")
    content = _parquet(examples, kind)
    digest = hashlib.sha256(content).hexdigest()
    files = {
        "README.md": created_card(kind, origin).encode(),
        f"data/train-ratings-{digest[:12]}.parquet": content,
    }
    hub.create_repo(repo, private=private)
    return hub.commit(
        repo, Changes(files), message="Add examples that raters agree on", run_id=f"curate-{digest}"
    )


def created_card_problems(recipe: Recipe, hub: Hub) -> list[Problem]:
    """What the Hub would refuse in the card of a dataset that curate makes from ratings.

    Only answers make a dataset, and only where there are none yet.
    """
    ratings, source = recipe.collect.ratings, target_source(recipe)
    repo = Repo(source.repo_id, "dataset")
    if ratings is None or not load_input(outline_for(recipe).modality).dialogue or hub.exists(repo):
        return []
    name = Repo(ratings.repo_id, "dataset")
    card = hub.card_data(name, hub.resolve(name, ratings.revision)) if hub.exists(name) else {}
    made = created_card("sft", Origin(ratings.repo_id, card_licence(card)))
    key = "collect.datasets"
    refused = hub.card_problems(made, "dataset")
    return [Problem(key, f"{key}: the Hub refuses the card: {fault}") for fault in refused]


def _parquet(examples: Sequence[Mapping[str, Any]], kind: Kind) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = BytesIO()
    table = pa.Table.from_pylist([dict(one) for one in examples], schema=_schema(examples, kind))
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _schema(examples: Sequence[Mapping[str, Any]], kind: Kind) -> "pa.Schema":
    import pyarrow as pa

    turn = pa.struct([("role", pa.string()), ("content", pa.string())])
    content = pa.string() if isinstance(examples[0]["prompt"], str) else pa.list_(turn)
    fields = [("prompt", content), *((name, content) for name in ANSWERS[kind])]
    fields += [("label", pa.bool_())] if kind == "kto" else []
    return pa.schema([*fields, (WEIGHT, pa.float64()), (FINISHED, pa.list_(pa.bool_()))])


def created_card(kind: Kind, origin: Origin) -> str:
    """README.md of the dataset."""
    licence = to_yaml(origin.licence.front_matter()) if origin.licence else ""
    return f"""---
{licence}task_categories:
- text-generation
tags:
- hub-trainer
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
---

# What people say of a model's answers

{ABOUT[kind]} `_weight` is how much an example counts: the trust in its raters.
`_finished` says of each answer whether it came to its own end; one that was cut off teaches no end.

Made by hub-trainer from `{origin.ratings}`, which says under which consent the ratings were given.
"""
