"""Base models are ranked by a probe; those that check would refuse are listed with why."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hub_trainer.errors import UsageError
from hub_trainer.hub import Hub, Repo
from hub_trainer.recipe import load_recipe
from hub_trainer.suggest import Suggestion, Wanted, ranked, suggest_models
from hub_trainer.suggest.frozen_probe import HasFeatures, Probed, drawn, probe_base, rows_in_time
from hub_trainer.suggest.suggestions_table import render_suggestions
from hub_trainer.tasks import Splits, load_task
from tests.cli.conftest import Cli
from tests.cli.conftest import cli as cli
from tests.cli.conftest import hub as hub
from tests.cli.conftest import local as local
from tests.cli.seeded import IMAGE_BASE, OWNER, TEXT_BASE, commit, write_recipe
from tests.tasks.factory import image_base, image_rows, recipe, text_base, text_rows


def probed(value: float, metric: str = "accuracy") -> Probed:
    return Probed(metric, value, 100, 25, 1.0)


def suggestion(name: str, **changes: Any) -> Suggestion:
    known = {"size_bytes": 4_000_000, "licence": "mit", "downloads": 1200, "language": ("en",)}
    return Suggestion(f"org/{name}", "1" * 40, **{**known, **changes})


def shown(found: list[Suggestion]) -> str:
    console = Console(width=100, file=io.StringIO())
    console.print(render_suggestions(found))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_models_when_ranked_then_the_best_score_is_first_and_the_refused_are_last() -> None:
    found = [
        suggestion("refused", problems=("has no weights",)),
        suggestion("large", probe=probed(0.8), size_bytes=9),
        suggestion("unprobed"),
        suggestion("small", probe=probed(0.8), size_bytes=8),
        suggestion("best", probe=probed(0.9)),
    ]
    names = [one.repo_id.removeprefix("org/") for one in ranked(found)]
    assert names == ["best", "small", "large", "unprobed", "refused"]
    errors = [suggestion(str(v), probe=probed(v, "mae")) for v in (0.5, 0.2)]
    assert [one.repo_id for one in ranked(errors)] == ["org/0.2", "org/0.5"]


def test_table_when_shown_then_columns_line_up_and_the_line_can_be_pasted() -> None:
    many = ("en", "de", "fr", "sw", "hi")
    good = [suggestion("best", probe=probed(0.9)), suggestion("other", language=many)]
    text = shown([*good, suggestion("bad", problems=("has no weights", "asks for code"))])
    lines = text.splitlines()
    assert lines[0].split() == [
        *("base", "model", "probe,", "accuracy", "weights", "downloads", "licence", "language")
    ]
    assert lines[1].split() == ["org/best", "0.9000", "4", "MB", "1,200", "mit", "en"]
    assert lines[2].index("mit") == lines[1].index("mit")
    assert "en, de, fr and 2 more" in lines[2]
    assert "org/bad: has no weights; asks for code" in text
    assert text.rstrip().endswith("base_model: org/best")
    assert "on 25 validation" in " ".join(text.replace("scored", "").split())


@pytest.mark.parametrize(
    ("per_row", "seconds", "rows"), [(0.01, 120, 2000), (0.5, 120, 134), (60, 120, 32), (1, -5, 32)]
)
def test_probe_when_a_model_is_slow_then_it_sees_fewer_rows(
    per_row: float, seconds: float, rows: int
) -> None:
    assert rows_in_time(per_row, seconds) == rows


def test_rows_when_drawn_then_they_are_the_same_for_a_seed() -> None:
    rows = [{"n": n} for n in range(50)]
    assert drawn(rows, 50, 0) == rows
    assert drawn(rows, 9, 1) == drawn(rows, 9, 1) != drawn(rows, 9, 2)
    assert [row["n"] for row in drawn(rows, 9, 1)] == sorted(row["n"] for row in drawn(rows, 9, 1))


@pytest.mark.parametrize("kind", ["text", "image"])
def test_probe_when_features_tell_labels_apart_then_it_finds_them(
    kind: str, tmp_path: Path
) -> None:
    make, rows = {"text": (text_base, text_rows), "image": (image_base, image_rows)}[kind]
    task = load_task(f"{kind}-classification")
    assert isinstance(task, HasFeatures)
    train, validation = rows(90), rows(30, seed=1)
    names = sorted({row["label"] for row in train})
    splits = Splits(train, validation, names)
    found = probe_base(task, splits, recipe(f"{kind}-classification"), make(tmp_path))
    assert (found.metric, found.train_rows) == ("accuracy", 90)
    assert found.value > 1.5 / len(names)


def test_models_when_named_then_each_is_looked_at_as_check_would(cli: Cli, hub: Hub) -> None:
    card = b"---\nlicense: mit\n---\n# Pickled\n"
    pickled = {"config.json": b"{}", "pytorch_model.bin": b"x", "README.md": card}
    commit(hub, Repo(f"{OWNER}/pickled"), pickled)
    strict = b"---\nlicense: cc-by-nc-nd-4.0\n---\n# Not to be changed\n"
    commit(hub, Repo(f"{OWNER}/strict"), {"config.json": b"{}", "README.md": strict})
    path = write_recipe(cli.folder / "suggested.yaml", "text")
    named = [f"{OWNER}/{name}" for name in ("pickled", "strict", "nowhere", "tiny-bert")]
    options = [word for name in [*named, IMAGE_BASE] for word in ("--base-model", name)]
    told = cli("suggest", path, *options, "--json")
    assert told.code == 0, told.err
    first, *rest = told.json["models"]
    assert (first["repo_id"], first["line"]) == (TEXT_BASE, f"base_model: {TEXT_BASE}")
    assert (first["licence"], first["probe"]["metric"]) == ("apache-2.0", "accuracy")
    assert first["size_bytes"] > 10_000
    why = {one["repo_id"].rpartition("/")[2]: one["problems"][0] for one in rest}
    assert "safetensors" in why["pickled"]
    assert "no derivatives" in why["strict"] or "cc-by-nc-nd-4.0" in why["strict"]
    assert "The Hub has no model" in why["nowhere"]
    assert "base_model" in why["tiny-resnet"]
    assert not (cli.folder / "rounds").exists()


def test_models_when_none_is_named_then_the_hub_is_asked(
    cli: Cli, hub: Hub, tmp_path: Path
) -> None:
    folder = text_base(tmp_path / "masked")
    card = b"---\nlicense: mit\nlanguage: [en, sw]\npipeline_tag: fill-mask\n---\n# Masked\n"
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    commit(hub, Repo(f"{OWNER}/masked"), {**files, "README.md": card})
    recipe_file = load_recipe(write_recipe(cli.folder / "asked.yaml", "text"))
    found = suggest_models(recipe_file, hub, Wanted())
    names = {one.repo_id: one for one in found}
    assert names.keys() == {TEXT_BASE, f"{OWNER}/masked"}
    assert names[f"{OWNER}/masked"].language == ("en", "sw")
    assert all(one.probe for one in found)
    few = suggest_models(recipe_file, hub, Wanted(max_parameters=10))
    assert [one.repo_id for one in few] == [TEXT_BASE]


def test_models_when_the_task_has_none_or_the_hub_has_none_then_says_so(cli: Cli, hub: Hub) -> None:
    table = load_recipe(write_recipe(cli.folder / "table.yaml", "table"))
    with pytest.raises(UsageError, match="starts from no base model") as told:
        suggest_models(table, hub, Wanted())
    assert str(told.value.do).startswith("See train.estimator")
    bare = write_recipe(cli.folder / "bare.yaml", "image", base_model=None)
    with pytest.raises(UsageError, match="no model for this task") as caught:
        suggest_models(load_recipe(bare), hub, Wanted(max_parameters=10))
    assert "--max-parameters" in str(caught.value.do)
