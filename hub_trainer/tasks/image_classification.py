"""Image classification: a picture in, one of the label names out, by a vision model with a head."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    ResNetConfig,
    ViTImageProcessorPil,
)

from hub_trainer.cards.contact_sheet import contact_sheet
from hub_trainer.finetune.augment import AUGMENTATIONS, augment
from hub_trainer.finetune.classifier import quiet_transformers, set_outputs
from hub_trainer.finetune.label_scores import BATCH_SIZE, Batches
from hub_trainer.pictures import open_image
from hub_trainer.tasks import Row, Splits
from hub_trainer.tasks.media_classification import MediaClassification

NEW_SIDE = 64
"""Pixels of the square at which a model without a base sees pictures."""

USAGE = """\
from transformers import pipeline

classify = pipeline("image-classification", model="{repo_id}", revision="{commit_sha}")
print(classify("picture.png", top_k=3))
"""


@dataclass(frozen=True)
class Pictures:
    """Training rows read when they are needed, augmented anew each time."""

    rows: Sequence[Row]
    labels: Sequence[int]
    weights: Sequence[float]
    augmentations: Sequence[str]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        picture = open_image(self.rows[index]["image"])
        if self.augmentations:
            # The engine has seeded the global state for this batch of this epoch.
            rng = random.Random(random.getrandbits(64))  # noqa: S311 - no secret
            picture = augment(picture, self.augmentations, rng)
        return {"picture": picture, "labels": self.labels[index], "weight": self.weights[index]}


@dataclass(frozen=True)
class VisionModels:
    """How models of transformers see pictures."""

    drops_out: ClassVar[bool] = False

    def processor(self, folder: Path) -> Any:
        """The image processor of a folder, over PIL."""
        with quiet_transformers():
            return AutoImageProcessor.from_pretrained(
                folder, trust_remote_code=False, backend="pil"
            )

    def new(self, splits: Splits, names: Sequence[str]) -> tuple[Any, Any]:
        """A ResNet of 0.7 million parameters, and the processor that goes with it.

        Its stem sees a quarter of the side, so that small pictures are better enlarged than shrunk.
        """
        del splits
        config = ResNetConfig(
            embedding_size=32, hidden_sizes=[32, 64, 128], depths=[2, 2, 2], layer_type="basic"
        )
        processor = ViTImageProcessorPil(size={"height": NEW_SIDE, "width": NEW_SIDE})
        return set_outputs(config, names), processor

    def examples(
        self,
        rows: Sequence[Row],
        labels: tuple[Sequence[int], Sequence[float]],
        augmentations: Sequence[str],
        processor: Any,
    ) -> Pictures:
        """Pictures as they are opened; the processor sees whole batches."""
        del processor
        return Pictures(rows, *labels, augmentations)

    def collate(self, processor: Any, examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Pixels of one size."""
        pictures = [one["picture"] for one in examples]
        return dict(processor(images=pictures, return_tensors="pt"))

    def batches(self, processor: Any, rows: Sequence[Row]) -> Batches:
        """As many pictures at once as fit into little memory."""
        return _batches(processor, rows)

    def unread(self, folder: Path, row: Row) -> list[str]:
        """Nothing: a picture is made smaller, not cut."""
        del folder, row
        return []

    def body(self, model: Any) -> Any:
        """All of it."""
        return model


def _batches(
    processor: Any, rows: Sequence[Row]
) -> Iterator[tuple[Sequence[int], Mapping[str, torch.Tensor]]]:
    for start in range(0, len(rows), BATCH_SIZE):
        chosen = range(start, min(start + BATCH_SIZE, len(rows)))
        pictures = [open_image(rows[index]["image"]) for index in chosen]
        yield chosen, dict(processor(images=pictures, return_tensors="pt"))


def _draw_rows(groups: Mapping[str, Sequence[Row]]) -> bytes:
    """The rows' pictures, each label's side by side."""
    return contact_sheet({name: [row["image"] for row in rows] for name, rows in groups.items()})


TASK = MediaClassification(
    name="image-classification",
    modality="image",
    kind="image",
    auto_class=AutoModelForImageClassification,
    models=VisionModels(),
    augmentations=frozenset(AUGMENTATIONS),
    widget=(
        "Image",
        {"label": "Picture", "image_mode": None, "sources": ["upload", "clipboard"]},
    ),
    usage=USAGE,
    draw_rows=_draw_rows,
)
