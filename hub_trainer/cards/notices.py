"""Which data calls for a notice: what its card's tags say of it, and what a notice may say."""

from collections.abc import Mapping, Sequence
from typing import Any

from hub_trainer.errors import Problem

MEDICAL = "Not a medical device: do not diagnose or treat anybody by what this model says."
BIOMETRIC = "It tells people apart: do not identify anybody by it without their consent."

NOTICE_OF_TAG: Mapping[str, str] = {
    **dict.fromkeys(
        ("medical", "medicine", "health", "healthcare", "clinical", "biomedical"), MEDICAL
    ),
    **dict.fromkeys(("biometric", "biometrics", "faces", "face-recognition"), BIOMETRIC),
}
"""Tag of a dataset's card -> an example of the notice that a model of it needs."""


def notice_problem(
    notice: str | None, cards: Sequence[tuple[str, Mapping[str, Any]]]
) -> Problem | None:
    """That `publish.notice` is missing where the tags of (dataset, its card) call for one."""
    if notice is not None:
        return None
    for repo_id, card in cards:
        tags = card.get("tags")
        for tag in tags if isinstance(tags, list) else [tags]:
            example = NOTICE_OF_TAG.get(str(tag).strip().lower())
            if example is not None:
                key = "publish.notice"
                text = f"{key}: {repo_id} is tagged {tag}, so write what everybody must know who "
                text += f'uses the model, as in notice: "{example}"'
                return Problem(key, text)
    return None
