"""Rounds that have been evaluated, made by hand: a tiny real model and artifacts around it."""

import json
import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hub_trainer.artifacts import digest_of, write_artifact
from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.lineage import PinnedRepo, Pins
from tests.cards.evidence import (
    BASE_REPO,
    DATA_REPO,
    FIT,
    LABELS,
    PREPARED,
    collected,
    recipe,
    results,
)

WORDS = ["where", "is", "my", "card", "lost", "it", "top", "up", "failed", "again", "please"]
CARD = "---\nlicense: cc-by-4.0\nlanguage:\n- en\n---\n# Data\n"


def tiny_text_model(folder: Path, labels: Sequence[str] = LABELS, *, seed: int = 0) -> None:
    """A BERT of a few thousand parameters with a word tokenizer, as save_pretrained writes it."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    torch.manual_seed(seed)
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", model_max_length=32
    )
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
        initializer_range=0.5,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def seed_hub(hub: Hub) -> dict[str, str]:
    """The data and the base model on the Hub; repo id -> commit sha."""
    shas = {}
    for repo, files in (
        (Repo(DATA_REPO, "dataset"), {"README.md": CARD.encode(), "data.csv": b"text,label\n"}),
        (Repo(BASE_REPO), {"README.md": b"---\nlicense: apache-2.0\n---\n", "config.json": b"{}"}),
    ):
        hub.create_repo(repo)
        made = hub.commit(repo, Changes(files), message="Seed", run_id=f"seed {repo.repo_id}")
        shas[repo.repo_id] = made.commit_sha
    return shas


def sealed_rows(count: int = 100) -> list[dict[str, Any]]:
    rng = random.Random(0)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(1, 8))) for _ in range(count)]
    return [
        {"text": text, "label": LABELS[i % 3], "_row_id": f"{i:064x}"}
        for i, text in enumerate(texts)
    ]


def write_pins(round_dir: Path, shas: Mapping[str, str], **changes: Any) -> Pins:
    """pins.json of a first round."""
    content: dict[str, Any] = {
        "round": 1,
        "run_id": str(uuid.uuid5(uuid.NAMESPACE_URL, str(round_dir))),
        "parent": None,
        "base_model": PinnedRepo(BASE_REPO, "model", "main", shas[BASE_REPO]),
        "datasets": (PinnedRepo(DATA_REPO, "dataset", "main", shas[DATA_REPO]),),
        "recipe_digest": digest_of(recipe().model_dump(mode="json")),
    }
    pins = Pins(**{**content, **changes})
    round_dir.mkdir(parents=True, exist_ok=True)
    (round_dir / "pins.json").write_text(json.dumps(asdict(pins)))
    return pins


def write_round(
    round_dir: Path,
    shas: Mapping[str, str],
    model: Path,
    scores: Sequence[Mapping[str, float]],
    *,
    evaluated: dict[str, Any] | None = None,
    data_repo: str = DATA_REPO,
    prepared: Mapping[str, Any] = PREPARED,
    splits: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    **pinned: Any,
) -> Pins:
    """The folders of a round's stages up to evaluate, and its pins."""
    datasets = (PinnedRepo(data_repo, "dataset", "main", shas[data_repo]),)
    pins = write_pins(round_dir, shas, **{"datasets": datasets, **pinned})
    inputs = {"run": pins.run_id}
    rows = splits["test"] if splits else sealed_rows(len(scores))
    with write_artifact(round_dir / "collect", inputs) as draft:
        draft.outputs |= collected(shas, data_repo)
    with write_artifact(round_dir / "prepare", inputs) as draft:
        for name, of_split in (splits or {"test": rows}).items():
            pq.write_table(pa.Table.from_pylist(of_split), draft.folder / f"{name}.parquet")
        draft.outputs |= prepared
    with write_artifact(round_dir / "train", inputs) as draft:
        for path in model.iterdir():
            (draft.folder / "model").mkdir(exist_ok=True)
            (draft.folder / "model" / path.name).write_bytes(path.read_bytes())
        (draft.folder / "curve.png").write_bytes(b"a curve")
        (draft.folder / "fit.json").write_text(json.dumps(FIT))
        draft.outputs |= {"fit": FIT}
    with write_artifact(round_dir / "evaluate", inputs) as draft:
        (draft.folder / "results.json").write_text(json.dumps(evaluated or results()))
        (draft.folder / "confusion.png").write_bytes(b"a picture")
        pq.write_table(_predictions(rows, scores), draft.folder / "predictions.parquet")
    return pins


def _predictions(
    rows: Sequence[Mapping[str, Any]], scores: Sequence[Mapping[str, float]]
) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "_row_id": row["_row_id"],
                "reference": row["label"],
                "prediction": max(score, key=score.__getitem__),
                "scores": [{"name": name, "score": value} for name, value in score.items()],
            }
            for row, score in zip(rows, scores, strict=True)
        ]
    )
