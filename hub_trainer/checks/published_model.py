"""The published model that review asks: what it is, and where its files lie for a child."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hub_trainer.tasks import ModelFolders


@dataclass(frozen=True)
class PublishedModel:
    """A model on this machine's disk, which a child without network loads."""

    task: str
    answer: str | None
    """What it predicts, where its task can be taught several things."""
    folder: str
    base: str | None = None
    """Folder of the base model of an adapter."""
    label_names: tuple[str, ...] = ()
    num_bytes: int | None = None
    """Size of the weights of a model that writes, its base's included."""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "PublishedModel":
        """From what the parent told."""
        return cls(**{**content, "label_names": tuple(content["label_names"])})

    def to_json(self) -> dict[str, Any]:
        """As the child is told."""
        return {**asdict(self), "label_names": list(self.label_names)}

    @property
    def folders(self) -> ModelFolders:
        """The same for `predict`."""
        return ModelFolders(Path(self.folder), Path(self.base) if self.base else None)
