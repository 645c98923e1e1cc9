"""Sealed rows as questions, where the right answer stands in a column: each row is one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hub_trainer.answers import Answer, Asking, Prediction, Questions
from hub_trainer.inputs import Row

if TYPE_CHECKING:
    from hub_trainer.recipe.schema import EvaluateSection


class _ByColumn:
    """Every model is asked every row, for its answer alone."""

    measured_by = "a prediction"
    base_leads = False
    has_validation = True

    def questions(
        self, answer: Answer, rows: Sequence[Row], section: "EvaluateSection"
    ) -> Questions:
        del section
        return Questions(rows, [row[answer.column] for row in rows])

    def assert_sound(self, name: str, found: Sequence[Prediction]) -> None:
        """Any answer can be measured."""

    def comparable(
        self, metrics: Sequence[str], questions: Questions, models: Sequence[Sequence[Prediction]]
    ) -> list[Sequence[Prediction]]:
        del metrics, questions
        return list(models)

    def baseline(
        self, answer: Answer, train: Sequence[Row], questions: Questions, primary: str
    ) -> tuple[str, list[Prediction]]:
        """The constant that suits the test rows best, which no model can know."""
        del train
        told, constant = answer.constant(questions.references, primary)
        return told, [constant] * len(questions.rows)

    def num_scored(self, metric: str, questions: Questions, found: Sequence[Prediction]) -> int:
        del metric, found
        return len(questions.rows)

    def shown(self, rows: Sequence[Row]) -> list[Row]:
        return list(rows)

    def example(self, answer: Answer, row: Row, prediction: Prediction) -> dict[str, str]:
        return {
            "reference": answer.told(answer.dumps(row[answer.column])),
            "prediction": answer.told(answer.dumps(prediction.value)),
        }

    def columns(
        self, answer: Answer, found: Sequence[Prediction], scores: Sequence[float | None]
    ) -> dict[str, Sequence[Any]]:
        return {
            "prediction": [answer.dumps(one.value) for one in found],
            "score": scores,
            "scores": [
                [{"name": name, "score": score} for name, score in one.scores.items()]
                for one in found
            ],
        }

    def references(
        self, answer: Answer, questions: Questions, new: Sequence[Prediction]
    ) -> dict[str, Sequence[Any]]:
        del new
        return {"reference": [answer.dumps(value) for value in questions.references]}

    def recorded(self, answer: Answer, row: Row) -> Prediction:
        scores = {one["name"]: one["score"] for one in row["scores"]}
        return Prediction(answer.loads(row["prediction"]), scores)


BY_COLUMN: Asking = _ByColumn()
