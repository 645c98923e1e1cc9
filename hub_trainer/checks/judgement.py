"""What a judge, a published model or a probe, makes of the answers of new rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hub_trainer.checks.label_groups import LabelGroup
from hub_trainer.checks.label_quality import LabelQuality


@dataclass(frozen=True)
class Judgement:
    """How many of the new answers look wrong to whom."""

    judge: str
    """Who, in words."""
    quality: LabelQuality
    groups: tuple[LabelGroup, ...] = ()
    """Labels of which rows look wrong; none for answers that are no labels."""
    told: str | None = None
    """How the judge differs, in words; None where it disagrees with labels."""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Judgement":
        """From what the child answered."""
        return cls(
            judge=str(content["judge"]),
            quality=LabelQuality.from_json(content["quality"]),
            groups=tuple(LabelGroup.from_json(one) for one in content["groups"]),
            told=content["told"],
        )

    def to_json(self) -> dict[str, Any]:
        """As the child answers."""
        return {
            "judge": self.judge,
            "quality": self.quality.to_json(),
            "groups": [one.to_json() for one in self.groups],
            "told": self.told,
        }
