"""What only a language model understands is refused by every other task."""

import pytest

from hub_trainer.tasks import LANGUAGE_KEYS, TASKS, load_task
from tests.tasks.factory import recipe

SET = {
    "train__language": {"beta": 0.2},
    "evaluate__generation": {"max_new_tokens": 9},
    "evaluate__json_schema": {"type": "object"},
    "serve": {
        "repo_id": "org/demo",
        "ratings_repo_id": "org/ratings",
        "generation": {"max_new_tokens": 9},
        "rival": "org/other",
    },
}


@pytest.mark.parametrize("name", TASKS)
def test_language_keys_when_set_then_only_tasks_that_write_take_them(name: str) -> None:
    task = load_task(name)
    chosen = recipe(name, base_model="org/base", **SET)
    found = [problem.key for problem in task.recipe_problems(chosen, None)]
    named = [key for key in LANGUAGE_KEYS if key in found]
    expected = ["evaluate.json_schema"] if task.converses else list(LANGUAGE_KEYS)
    assert named == expected
