"""Chat templates by name and from files beside a recipe, and what is told of what is none."""

from pathlib import Path

import pytest

from hub_trainer.errors import RecipeError
from hub_trainer.recipe import Recipe, load_recipe
from hub_trainer.recipe.chat_templates import (
    CHATML,
    MAX_CHARACTERS,
    PLAIN,
    beside,
    by_name,
    digest,
    told,
)

OWN = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
RECIPE = """\
task: text-generation
base_model: org/base
collect: {datasets: [org/data]}
train:
  language:
    chat_template: TEMPLATE
evaluate: {metrics: [completion_loss], primary: completion_loss}
publish: {repo_id: org/model}
"""


def load(folder: Path, name: str, *overrides: str) -> Recipe:
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.replace("TEMPLATE", name))
    return load_recipe(path, overrides).recipe


def template(recipe: Recipe) -> str | None:
    assert recipe.train.language is not None
    return recipe.train.language.chat_template


@pytest.mark.parametrize(("name", "expected"), [("chatml", CHATML), ("plain", PLAIN)])
def test_template_when_it_ships_here_then_its_name_will_do(
    name: str, expected: str, tmp_path: Path
) -> None:
    assert template(load(tmp_path, name)) == expected
    assert told(expected) == name


def test_template_when_a_round_of_before_holds_it_then_it_keeps_its_name() -> None:
    for name, text in (("chatml", CHATML), ("plain", PLAIN)):
        before = text.replace("(message['content'] or '')", "message['content']")
        assert (before != text, told(before)) == (True, name)


def test_template_when_a_file_beside_the_recipe_then_the_recipe_holds_what_is_in_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "own.jinja").write_text(OWN)
    loaded = load(tmp_path, "own.jinja")
    assert template(loaded) == OWN
    assert template(Recipe.model_validate(loaded.model_dump(mode="json"))) == OWN
    assert told(OWN) == f"of the recipe, sha256 {digest(OWN)[:12]}"
    (tmp_path / "own.jinja").write_text(OWN + "!")
    assert digest(str(template(load(tmp_path, "own.jinja")))) != digest(OWN)


def test_template_when_named_by_an_override_then_it_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "own.jinja").write_text(OWN)
    assert template(load(tmp_path, "plain", "train.language.chat_template=own.jinja")) == OWN


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("nowhere.jinja", None, "neither a template that ships here (chatml, plain) nor a file"),
        ("chatlm", None, "'chatlm' is neither"),
        ("text.jinja", b"no template", "holds no template: there is no {{ or {% in it"),
        ("bytes.jinja", b"\xff{{", "cannot be read"),
        ("long.jinja", b"{{ a }}" * MAX_CHARACTERS, "a template has 50,000 at most"),
    ],
)
def test_template_when_it_is_none_then_says_so_with_its_line(
    name: str, content: bytes | None, words: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, name)
    (problem,) = caught.value.problems
    assert problem.message.startswith("train.language.chat_template: ")
    assert words in problem.message
    assert problem.line == 6


@pytest.mark.parametrize("linked", [True, False])
def test_template_when_its_file_lies_elsewhere_then_it_is_not_read(
    linked: bool, tmp_path: Path
) -> None:
    (tmp_path / "own.jinja").write_text(OWN)
    folder = tmp_path / "recipes"
    folder.mkdir()
    if linked:
        (folder / "own.jinja").symlink_to(tmp_path / "own.jinja")
    with pytest.raises(RecipeError) as caught:
        load(folder, "own.jinja" if linked else "../own.jinja")
    assert "lies elsewhere; put the file beside the recipe" in caught.value.problems[0].message


def test_name_when_it_is_a_template_itself_then_it_is_taken_as_it_is(tmp_path: Path) -> None:
    assert (by_name(OWN), beside(OWN, tmp_path), beside("plain", tmp_path)) == (OWN, OWN, "plain")
