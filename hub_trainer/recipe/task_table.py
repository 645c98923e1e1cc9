"""Table of the tasks: the pipeline tags that a recipe may name, and where each is implemented."""

from collections.abc import Mapping

from hub_trainer.recipe.arguments import nearest

TASKS: Mapping[str, str] = {
    "text-classification": "hub_trainer.tasks.text_classification",
    "token-classification": "hub_trainer.tasks.token_classification",
    "image-classification": "hub_trainer.tasks.image_classification",
    "audio-classification": "hub_trainer.tasks.audio_classification",
    "automatic-speech-recognition": "hub_trainer.tasks.speech_recognition",
    "tabular-classification": "hub_trainer.tasks.tabular",
    "tabular-regression": "hub_trainer.tasks.tabular",
    "text-generation": "hub_trainer.tasks.text_generation",
    "sentence-similarity": "hub_trainer.tasks.sentence_similarity",
}
"""Pipeline tag -> module that holds its `TASK`."""


def task_fault(name: str, tasks: Mapping[str, str] = TASKS) -> str | None:
    """What is wrong with the name of a task; None for one of the table."""
    if name in tasks:
        return None
    return f"task: {name!r:.80} is not a task.{nearest(name, tasks)} Known: {', '.join(tasks)}."
