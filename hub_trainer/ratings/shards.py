"""The files of a ratings dataset: immutable parquet shards, named by content, and its card."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

from hub_trainer.errors import DataError
from hub_trainer.ratings.records import RatedGeneration

Modality = Literal["text", "image", "table"]
FOLDER = "ratings"
SHARDS = f"{FOLDER}/**/*.parquet"
COMMON: tuple[str, ...] = ("rating_id", "generation_id", "row_id", "rater", "rater_tier", "kind")
COMMON += ("answer", "prediction", "model", "task", "consent", "day")
"""Columns of strings in every shard; `epoch`, `seq`, `scores` and the rated row are the rest."""
ROW_COLUMN: Mapping[str, str] = {"text": "text", "image": "image", "table": "features"}


class ShardName(NamedTuple):
    """What the path of a shard says."""

    space: str
    epoch: str
    first: int
    last: int


def pack_shard(
    rated: Sequence[RatedGeneration], *, modality: Modality, task: str, epoch: str
) -> bytes:
    """Parquet bytes, the same for the same ratings, that `load_dataset` opens as they are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [_shard_row(one, modality, task, epoch) for one in rated]
    table = pa.Table.from_pylist(rows, schema=_schema(modality))
    buffer = BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def shard_path(space: str, epoch: str, first: int, last: int, content: bytes) -> str:
    """`ratings/<space>/<epoch>/<first>-<last>-<sha16>.parquet`."""
    digest = hashlib.sha256(content).hexdigest()[:16]
    return f"{shard_folder(space, epoch)}/{first:012d}-{last:012d}-{digest}.parquet"


def shard_folder(space: str, epoch: str) -> str:
    """Where one store of one Space puts its shards."""
    return f"{FOLDER}/{space.replace('/', '--')}/{epoch}"


def parse_shard_path(path: str) -> ShardName | None:
    """What a shard's path says, None for any other file."""
    parts = PurePosixPath(path).parts
    if len(parts) != 4 or parts[0] != FOLDER or not path.endswith(".parquet"):
        return None
    bounds = parts[3].split("-")
    if len(bounds) != 3 or not (bounds[0].isdecimal() and bounds[1].isdecimal()):
        return None
    return ShardName(parts[1], parts[2], int(bounds[0]), int(bounds[1]))


def read_shards(folder: Path) -> list[dict[str, Any]]:
    """Every rating under a downloaded dataset, oldest first, each id once.

    `row` is the canonical row that was rated. Raises DataError for a file that is not a shard.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((folder / FOLDER).rglob("*.parquet")):
        for rating in _read_shard(path, path.relative_to(folder).as_posix()):
            found.setdefault(rating["rating_id"], rating)
    return sorted(
        found.values(), key=lambda rating: (rating["day"], rating["epoch"], rating["seq"])
    )


def _read_shard(path: Path, name: str) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            "A file of the ratings dataset is not a readable parquet file.",
            where=name,
            got=str(error).splitlines()[0],
            do="Remove it from the ratings dataset.",
        ) from error
    modality = next((m for m, c in ROW_COLUMN.items() if c in table.column_names), "text")
    expected = _schema(modality).remove_metadata()
    missing = sorted(set(expected.names) - set(table.column_names))
    try:
        ratings = [] if missing else table.select(expected.names).cast(expected).to_pylist()
    except pa.ArrowException as error:
        raise _not_a_shard(name, str(error).splitlines()[0]) from error
    if missing:
        raise _not_a_shard(name, f"missing columns: {', '.join(missing)}")
    return [_with_row(rating, modality, name) for rating in ratings]


def _with_row(rating: dict[str, Any], modality: str, name: str) -> dict[str, Any]:
    content = rating.pop(ROW_COLUMN[modality])
    rating["row"] = _row_of(content, modality)
    if rating["row"] is None:
        raise DataError(
            "A rating does not hold what was rated.",
            where=name,
            got=f"rating {rating['rating_id']} without its {ROW_COLUMN[modality]}",
            do="Remove this rating: paths and addresses are never followed.",
        )
    return rating


def _row_of(content: Any, modality: str) -> dict[str, Any] | None:
    if modality == "text" or content is None:
        return None if content is None else {"text": content}
    if modality == "image":
        return None if content["bytes"] is None else {"image": content["bytes"]}
    try:
        row = json.loads(content)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _not_a_shard(name: str, got: str) -> DataError:
    return DataError(
        "A file of the ratings dataset has another schema than ratings have.",
        where=name,
        got=got,
        do="Remove it, or write it as the dataset's card describes.",
    )


def _shard_row(one: RatedGeneration, modality: Modality, task: str, epoch: str) -> dict[str, Any]:
    rating, generation = one.rating, one.generation
    scores = [{"label": label, "score": score} for label, score in generation.scores.items()]
    return {
        "rating_id": rating.rating_id,
        "generation_id": rating.generation_id,
        "row_id": generation.row_id,
        "rater": rating.rater,
        "rater_tier": rating.rater_tier,
        "kind": rating.kind,
        "answer": rating.answer,
        "prediction": generation.prediction,
        "model": generation.model,
        "task": task,
        "consent": rating.consent,
        "day": datetime.fromtimestamp(rating.created, UTC).date().isoformat(),
        "epoch": epoch,
        "seq": one.seq,
        "scores": scores,
        ROW_COLUMN[modality]: _row_content(generation.row, modality),
    }


def _row_content(row: Mapping[str, Any], modality: Modality) -> Any:
    if modality == "text":
        return row["text"]
    if modality == "image":
        return {"bytes": row["image"], "path": None}
    return json.dumps(dict(row), ensure_ascii=False, sort_keys=True)


def _schema(modality: str) -> Any:
    """Arrow schema with the features that `datasets` reads: an image is decoded as an image."""
    import pyarrow as pa

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    fields = [(name, pa.string()) for name in (*COMMON, "epoch")]
    fields += [
        ("seq", pa.int64()),
        ("scores", pa.list_(pa.struct([("label", pa.string()), ("score", pa.float64())]))),
        (ROW_COLUMN[modality], image if modality == "image" else pa.string()),
    ]
    text = {"dtype": "string", "_type": "Value"}
    features: dict[str, Any] = {name: text for name, _ in fields}
    features["seq"] = {"dtype": "int64", "_type": "Value"}
    score = {"label": text, "score": {"dtype": "float64", "_type": "Value"}}
    features["scores"] = {"feature": score, "_type": "List"}
    if modality == "image":
        features["image"] = {"_type": "Image"}
    described = json.dumps({"info": {"features": features}})
    return pa.schema(fields, metadata={"huggingface": described})


def ratings_card(*, task: str, space: str, license_name: str | None, consent: str) -> str:
    """README.md of a ratings dataset: what it holds, under which consent, how it is laid out."""
    front = f"license: {license_name}\n" if license_name else ""
    return f"""---
{front}task_categories:
- {task}
tags:
- hub-trainer
- ratings
configs:
- config_name: default
  data_files:
  - split: train
    path: {SHARDS}
---

# Ratings from {space}

What people said of a model's answers in the Space `{space}`. Each row is one rating.

| Column          | What it holds                                                             |
|-----------------|---------------------------------------------------------------------------|
| `rating_id`     | The rating; a repeated one has the same id                                |
| `generation_id` | The prediction that was rated; a rater's later rating of it supersedes    |
| `row_id`        | sha256 of what was shown to the model, the same for the same content      |
| `rater`         | Pseudonym: a keyed hash, not reversible without the Space's key           |
| `rater_tier`    | `account` for a signed-in rater, `anonymous` for a session                |
| `kind`          | `right` or `wrong`                                                        |
| `answer`        | The right label, according to the rater                                   |
| `prediction`    | The label that the model gave; `scores` holds the probability of each     |
| `model`         | The model's repo and commit                                               |
| `consent`       | Version of the consent text that was shown                                |
| `day`           | Day of the rating, UTC; `epoch` and `seq` order the ratings of one server |

The rated input is in `text`, `image` or, for tables, in `features` as JSON. Files are written once
and never changed, one folder per Space and server start.

## Consent

Shown above the buttons:

> {consent}

To have your ratings removed, open a discussion on this dataset. Copies that others have made, and
models that were trained before, are out of our reach.
"""
