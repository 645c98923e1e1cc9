"""Seed of the quickstart's empty Local Hub: two data sets and the shape of a base model."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hub_trainer.hub import Changes, Hub, Repo

ORG = "community"
DIGITS = Repo(f"{ORG}/handwritten-digits", "dataset")
SEALED = Repo(f"{ORG}/handwritten-digits-sealed", "dataset")
TUMOURS = Repo(f"{ORG}/breast-cancer-wisconsin", "dataset")
BASE_MODEL = Repo(f"{ORG}/tiny-resnet")
LABELS = [str(digit) for digit in range(10)]
PICTURE_SIZE = 32
"""Pixels; the 8 x 8 originals are enlarged so that people can see them."""

NUM_LABELLED, NUM_SEALED = 120, 600
NUM_GOOD, NUM_FLIPPED, NUM_RATED = 220, 160, 120


class RunningHub(Protocol):
    """The Local Hub as far as the quickstart needs it."""

    url: str
    token: str
    user: str

    def add_user(self, name: str, role: str = "write") -> str:
        """Add a user and return a token of theirs."""
        ...

    def add_org(self, name: str, members: dict[str, str]) -> None:
        """Add an organisation with its members and their roles."""
        ...


@dataclass(frozen=True)
class Digits:
    """Pictures as PNG bytes, and their labels."""

    pictures: Sequence[bytes]
    labels: Sequence[str]

    def part(self, start: int, count: int) -> "Digits":
        """`count` of them from `start` on."""
        return Digits(self.pictures[start : start + count], self.labels[start : start + count])


@dataclass(frozen=True)
class Parts:
    """The digits by the role they play; no picture is in two of them."""

    labelled: Digits
    sealed: Digits
    good: Digits
    flipped: Digits
    rated: Digits


def split_digits(seed: int) -> Parts:
    """scikit-learn's 1,797 handwritten digits, shuffled and dealt out."""
    import numpy as np
    from sklearn.datasets import load_digits

    source = load_digits()
    order = np.random.default_rng(seed).permutation(len(source.images))
    pictures = [_png(source.images[i]) for i in order]
    digits = Digits(pictures, [str(source.target[i]) for i in order])
    counts = (NUM_LABELLED, NUM_SEALED, NUM_GOOD, NUM_FLIPPED, NUM_RATED)
    starts = [sum(counts[:i]) for i in range(len(counts))]
    return Parts(*(digits.part(s, c) for s, c in zip(starts, counts, strict=True)))


def seed_hub(hub: Hub, parts: Parts) -> None:
    """Commit the data sets and the base model's configuration."""
    _commit(
        hub,
        DIGITS,
        {"README.md": _digits_card(), "data/train-00000.parquet": _parquet(parts.labelled)},
    )
    sealed = {"README.md": _sealed_card(), "data/test-00000.parquet": _parquet(parts.sealed)}
    _commit(hub, SEALED, sealed, private=True)
    _commit(hub, TUMOURS, {"README.md": _tumours_card(), "data/train.csv": _tumours_csv()})
    _commit(hub, BASE_MODEL, _base_model_files())


def write_picture_folder(digits: Digits, folder: Path) -> Path:
    """One folder per label with a PNG per picture, as a contributor has them on disk."""
    for index, (picture, label) in enumerate(zip(digits.pictures, digits.labels, strict=True)):
        path = folder / label / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture)
    return folder


def flip_labels(digits: Digits, fraction: float, seed: int) -> Digits:
    """The same pictures, a fraction of them under another label."""
    import numpy as np

    rng = np.random.default_rng(seed)
    labels = list(digits.labels)
    for index in rng.choice(len(labels), int(fraction * len(labels)), replace=False):
        labels[index] = str((int(labels[index]) + rng.integers(1, 10)) % 10)
    return Digits(digits.pictures, labels)


def _png(image: Any) -> bytes:
    from PIL import Image

    picture = Image.fromarray((image * 15.9375).clip(0, 255).astype("uint8"), mode="L")
    buffer = io.BytesIO()
    picture.resize((PICTURE_SIZE, PICTURE_SIZE), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


def _parquet(digits: Digits) -> bytes:
    from datasets import ClassLabel, Dataset, Features, Image

    rows = {
        "image": [{"bytes": picture, "path": None} for picture in digits.pictures],
        "label": [LABELS.index(label) for label in digits.labels],
    }
    features = Features({"image": Image(), "label": ClassLabel(names=LABELS)})
    buffer = io.BytesIO()
    Dataset.from_dict(rows, features=features).to_parquet(buffer)
    return buffer.getvalue()


def _tumours_csv() -> bytes:
    from sklearn.datasets import load_breast_cancer

    source = load_breast_cancer(as_frame=True)
    frame = source.frame.rename(columns=lambda name: name.replace(" ", "_"))
    frame["label"] = [str(source.target_names[i]) for i in frame.pop("target")]
    return bytes(frame.to_csv(index=False).encode())


def _base_model_files() -> dict[str, bytes]:
    """The shape of a small ResNet, without weights: the recipe trains it from scratch."""
    import json

    from transformers import ResNetConfig

    config = ResNetConfig(
        num_channels=3,
        embedding_size=16,
        hidden_sizes=[16, 32, 64],
        depths=[1, 1, 1],
        layer_type="basic",
        num_labels=len(LABELS),
        architectures=["ResNetForImageClassification"],
    )
    processor = {
        "image_processor_type": "ConvNextImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": PICTURE_SIZE},
        "crop_pct": 1.0,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    card = "---\nlicense: apache-2.0\npipeline_tag: image-classification\n---\n"
    card += "# tiny-resnet\n\nThe shape of a small ResNet for 32 x 32 pictures; no weights.\n"
    return {
        "config.json": config.to_json_string().encode(),
        "preprocessor_config.json": json.dumps(processor, indent=1).encode(),
        "README.md": card.encode(),
    }


def _commit(hub: Hub, repo: Repo, files: dict[str, bytes], *, private: bool = False) -> None:
    hub.create_repo(repo, private=private)
    hub.commit(repo, Changes(files), message="Add the first files", run_id=f"seed-{repo.repo_id}")


def _digits_card() -> bytes:
    return b"""---
license: cc-by-4.0
pretty_name: Handwritten digits
task_categories: [image-classification]
size_categories: [n<1K]
configs:
- config_name: default
  data_files:
  - {split: train, path: data/train-*.parquet}
---
# Handwritten digits

Digits 0 to 9 as 32 x 32 pictures, enlarged from the 8 x 8 pictures of the *Optical Recognition of
Handwritten Digits* set (E. Alpaydin and C. Kaynak, UCI, 1998, CC BY 4.0), as scikit-learn ships it.

Contributions are welcome as pull requests, from a folder with one folder of pictures per digit:
`hub-trainer contribute community/handwritten-digits FOLDER`
"""


def _sealed_card() -> bytes:
    return b"""---
license: cc-by-4.0
pretty_name: Handwritten digits, sealed test split
configs:
- config_name: default
  data_files:
  - {split: test, path: data/test-*.parquet}
---
# Handwritten digits: the sealed test split

Private, so that nobody can train on it. Each round's model is measured on it once.
"""


def _tumours_card() -> bytes:
    return b"""---
license: cc-by-4.0
pretty_name: Breast cancer Wisconsin (diagnostic)
task_categories: [tabular-classification]
size_categories: [n<1K]
---
# Breast cancer Wisconsin (diagnostic)

30 measurements of cell nuclei, and whether the tumour was malignant or benign (W. Wolberg,
O. Mangasarian, N. Street, W. Street, UCI, 1995, CC BY 4.0), as scikit-learn ships it.
"""
