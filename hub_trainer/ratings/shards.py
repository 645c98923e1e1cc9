"""The files of a ratings dataset: immutable parquet shards, named by content, and its card."""

import hashlib
import json
from collections.abc import Mapping, Sequence, Set
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from hub_trainer.errors import DataError
from hub_trainer.inputs import INPUTS, load_input
from hub_trainer.ratings.rating_records import RatedGeneration
from hub_trainer.recipe.columns import OPTIONAL_INPUTS

DIALOGUE_COLUMNS = ("prompt", "sampling", "rival")
"""Columns of a shard in which answers to prompts are rated, in place of scores; by the first it is
known."""
FOLDER = "ratings"
SHARDS = f"{FOLDER}/**/*.parquet"
COMMON: tuple[str, ...] = ("rating_id", "generation_id", "row_id", "rater", "rater_tier", "kind")
COMMON += ("answer", "prediction", "model", "task", "consent", "day")
"""Columns of strings in every shard; `epoch`, `seq`, `scores` and the rated row are the rest."""
LATER = ("source",)
"""Columns of strings that earlier shards lack; they are null there."""


class ShardName(NamedTuple):
    """What the path of a shard says."""

    space: str
    epoch: str
    first: int
    last: int


def pack_shard(rated: Sequence[RatedGeneration], *, modality: str, task: str, epoch: str) -> bytes:
    """Parquet bytes, the same for the same ratings, that `load_dataset` opens as they are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    beside = _beside(modality, {name for one in rated for name in one.generation.row})
    rows = [_shard_row(one, modality, task, epoch) for one in rated]
    for row, one in zip(rows, rated, strict=True):
        row |= {name: one.generation.row.get(name) for name in beside}
    table = pa.Table.from_pylist(rows, schema=_schema(modality, beside))
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

    `row` is the canonical row that was rated, of a dialogue its `text`; `prompt`, `sampling` and
    `rival` stay JSON, and are what the card says. Raises DataError for a file that is not a shard.
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
    modality = _modality_of(table.column_names)
    beside = _beside(modality, set(table.column_names))
    expected = _schema(modality, beside).remove_metadata()
    for column in set(LATER) - set(table.column_names):
        table = table.append_column(column, pa.nulls(table.num_rows, pa.string()))
    missing = sorted(set(expected.names) - set(table.column_names))
    try:
        ratings = [] if missing else table.select(expected.names).cast(expected).to_pylist()
    except pa.ArrowException as error:
        raise _not_a_shard(name, str(error).splitlines()[0]) from error
    if missing:
        raise _not_a_shard(name, f"missing columns: {', '.join(missing)}")
    return [_with_row(rating, modality, beside, name) for rating in ratings]


def _beside(modality: str, columns: Set[str]) -> list[str]:
    """The optional inputs of this kind among some columns."""
    known = [name for name, kind in OPTIONAL_INPUTS.items() if kind == modality]
    return [name for name in known if name in columns]


def _with_row(
    rating: dict[str, Any], modality: str, beside: Sequence[str], name: str
) -> dict[str, Any]:
    shown = load_input(modality)
    if shown.dialogue:
        _check_dialogue(rating, name)
    column = shown.rated_column
    cell = rating.pop(column)
    rating["row"] = None if cell is None else shown.rated_row(cell)
    if rating["row"] is None:
        raise DataError(
            "A rating does not hold what was rated.",
            where=name,
            got=f"rating {rating['rating_id']} without its {column}",
            do="Remove this rating: paths and addresses are never followed.",
        )
    further = {column: rating.pop(column) for column in beside}
    rating["row"] |= {column: cell for column, cell in further.items() if cell is not None}
    return rating


def _modality_of(columns: Sequence[str]) -> str:
    """The input of a shard with these columns; one of dialogues keeps their texts too."""
    has_prompts = DIALOGUE_COLUMNS[0] in columns
    inputs = [(name, load_input(name)) for name in INPUTS]
    fitting = [name for name, shown in inputs if bool(shown.dialogue) == has_prompts]
    return next((name for name in fitting if load_input(name).rated_column in columns), fitting[0])


def _check_dialogue(rating: Mapping[str, Any], name: str) -> None:
    """Raise DataError when what is JSON in a rating is something else than the card says."""
    rival = _parsed(rating["rival"])
    has_rival = isinstance(rival, dict) and isinstance(rival.get("completion"), str)
    needs_none = rating["rival"] is None and rating["kind"] != "prefer"
    is_right = {
        "prompt": _is_prompt(_parsed(rating["prompt"])),
        "sampling": isinstance(_parsed(rating["sampling"]), dict),
        "rival": has_rival or needs_none,
    }
    wrong = ", ".join(column for column, right in is_right.items() if not right)
    if wrong:
        raise _not_a_shard(name, f"rating {rating['rating_id']} whose {wrong} is not as described")


def _is_prompt(asked: Any) -> bool:
    return isinstance(asked, str) or (
        isinstance(asked, list) and bool(asked) and all(map(_is_turn, asked))
    )


def _is_turn(turn: Any) -> bool:
    if not isinstance(turn, dict):
        return False
    return set(turn) == {"role", "content"} and all(isinstance(v, str) for v in turn.values())


def _parsed(content: str | None) -> Any:
    """The value of a JSON text, None when it is none."""
    try:
        return None if content is None else json.loads(content)
    except (ValueError, RecursionError):
        return None


def _not_a_shard(name: str, got: str) -> DataError:
    return DataError(
        "A file of the ratings dataset has another schema than ratings have.",
        where=name,
        got=got,
        do="Remove it, or write it as the dataset's card describes.",
    )


def _shard_row(one: RatedGeneration, modality: str, task: str, epoch: str) -> dict[str, Any]:
    rating, generation = one.rating, one.generation
    common: dict[str, Any] = {
        "rating_id": rating.rating_id,
        "generation_id": rating.subject,
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
        "source": rating.source,
        "seq": one.seq,
    }
    shown = load_input(modality)
    common[shown.rated_column] = shown.rated_cell(generation.row)
    if shown.dialogue:
        return common | _dialogue_content(one)
    scores = [{"label": label, "score": score} for label, score in generation.scores.items()]
    return common | {"scores": scores}


def _dialogue_content(one: RatedGeneration) -> dict[str, Any]:
    rival = one.rival and {
        "model": one.rival.model,
        "completion": one.rival.prediction,
        "sampling": one.rival.sampling,
        "side": one.rival_side,
    }
    return {
        "prompt": one.generation.row["prompt"],
        "sampling": _to_json(one.generation.sampling),
        "rival": _to_json(rival) if rival else None,
    }


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _schema(modality: str, beside: Sequence[str] = ()) -> Any:
    """Arrow schema with the features that `datasets` reads: an image is decoded as an image."""
    import pyarrow as pa

    fields = [(name, pa.string()) for name in (*COMMON, "epoch", *LATER)]
    fields += [("seq", pa.int64())]
    features: dict[str, Any] = {"seq": {"dtype": "int64", "_type": "Value"}}
    text = {"dtype": "string", "_type": "Value"}
    shown = load_input(modality)
    features[shown.rated_column] = dict(shown.rated_feature)
    rated = [(shown.rated_column, shown.rated_type)]
    if shown.dialogue:
        fields += [*rated, *((name, pa.string()) for name in DIALOGUE_COLUMNS)]
    else:
        scored = pa.struct([("label", pa.string()), ("score", pa.float64())])
        fields += [("scores", pa.list_(scored)), *rated, *((name, pa.string()) for name in beside)]
        score = {"label": text, "score": {"dtype": "float64", "_type": "Value"}}
        features["scores"] = {"feature": score, "_type": "List"}
    described = json.dumps({"info": {"features": {n: features.get(n, text) for n, _ in fields}}})
    return pa.schema(fields, metadata={"huggingface": described})
