"""Models of bases without a chat template: taught, asked and published with the recipe's."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from hub_trainer.errors import DataError
from hub_trainer.recipe import GenerationSection
from hub_trainer.recipe.chat_templates import CHATML, PLAIN
from hub_trainer.tasks import Asked, ModelFolders, Splits
from hub_trainer.tasks.text_generation import TASK
from tests.finetune.language.tiny import CHAT, WITHOUT_TAGS
from tests.tasks.factory import recipe
from tests.tasks.language import demonstrations, language_base, rows_of

ARGUMENTS = {"max_steps": 3, "per_device_train_batch_size": 8, "learning_rate": 0.01}


def dialogues(count: int) -> list[dict[str, Any]]:
    return rows_of(
        [
            {
                "messages": [
                    {"role": "user", "content": f"{n}?"},
                    {"role": "assistant", "content": f"{n}!"},
                ]
            }
            for n in range(count)
        ]
    )


def wanted(template: str | None, **changes: Any) -> Any:
    language = {"chat_template": template} if template else {}
    return recipe(
        "text-generation",
        evaluate__metrics=["perplexity"],
        evaluate__primary="perplexity",
        train__language=language,
        train__arguments=ARGUMENTS,
        **changes,
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelFolders:
    return ModelFolders(language_base(tmp_path_factory.mktemp("plain")))


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("template", [CHATML, PLAIN, WITHOUT_TAGS])
def test_fit_when_the_recipe_names_a_template_then_strangers_render_dialogues_the_same(
    template: str, method: str, base: ModelFolders, tmp_path: Path
) -> None:
    splits = Splits(dialogues(16), dialogues(4), [])
    of = wanted(template, train__method=method)
    TASK.fit(splits, of, tmp_path, base=base, progress=lambda share, doing: None)
    theirs = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert theirs.chat_template == template
    ours = AutoTokenizer.from_pretrained(base.model)
    for ask in (True, False):
        assert theirs.apply_chat_template(
            list(CHAT), tokenize=True, add_generation_prompt=ask
        ) == ours.apply_chat_template(
            list(CHAT), chat_template=template, tokenize=True, add_generation_prompt=ask
        )
    folders = ModelFolders(tmp_path / "model", base.model if method == "lora" else None)
    said = TASK.predict(folders, dialogues(2), Asked(GenerationSection(max_new_tokens=3)))
    assert all(isinstance(one.value, str) for one in said)


def test_base_without_a_template_when_asked_then_as_the_recipe_writes_dialogues_down(
    base: ModelFolders, tmp_path: Path
) -> None:
    rows = dialogues(3)
    asked = Asked(answered=(), weighed=range(3), chat_template=PLAIN)
    found = TASK.predict(base, rows, asked)
    own = ModelFolders(language_base(tmp_path / "own", template=PLAIN))
    assert [one.likelihood for one in found] == [
        one.likelihood for one in TASK.predict(own, rows, Asked(answered=(), weighed=range(3)))
    ]
    with pytest.raises(DataError, match="has no chat template"):
        TASK.predict(base, rows, Asked(answered=(), weighed=range(3)))


def test_model_with_a_template_when_asked_then_by_its_own(tmp_path: Path) -> None:
    own = ModelFolders(language_base(tmp_path / "own", template=WITHOUT_TAGS))
    rows, plain = dialogues(2), Asked(answered=(), weighed=[0, 1])
    other = Asked(answered=(), weighed=[0, 1], chat_template=PLAIN)
    assert TASK.predict(own, rows, other) == TASK.predict(own, rows, plain)


def test_preview_when_the_base_has_no_template_then_names_the_key(base: ModelFolders) -> None:
    with pytest.raises(DataError, match="has no chat template") as caught:
        TASK.preview(dialogues(4), wanted(None), base)
    assert "name a template in train.language.chat_template, as chatml, plain" in str(caught.value)


def test_preview_when_a_template_is_named_then_dialogues_are_read_by_it(base: ModelFolders) -> None:
    shown = TASK.preview(dialogues(4), wanted("plain"), base)
    told = "".join(part.text for part in shown.answers[0])
    assert told == "<s>User: 0?\nAssistant: 0!<|im_end|>\n"
    assert [part.text for part in shown.answers[0] if part.learned] == ["0!<|im_end|>"]
    assert TASK.refusals(dialogues(4), wanted("plain"), base) == [None] * 4


def test_preview_when_rows_are_texts_then_a_template_changes_nothing_and_is_refused(
    base: ModelFolders,
) -> None:
    with pytest.raises(DataError, match="no chat template is asked to write down") as caught:
        TASK.preview(demonstrations(4), wanted("chatml"), base)
    assert "remove the key, or give rows of messages" in str(caught.value)
