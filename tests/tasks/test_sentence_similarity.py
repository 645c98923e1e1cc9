"""Sentence similarity: cosines that learn a number, folders for strangers, what is refused."""

import json
import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, T5Config, pipeline
from transformers.modeling_outputs import SequenceClassifierOutput

from hub_trainer.errors import DataError
from hub_trainer.finetune.auto_classes import auto_class
from hub_trainer.finetune.model_folder import ADAPTER_CONFIG
from hub_trainer.finetune.sentence_pairs import (
    POOLING_FILE,
    AutoModelForSentenceSimilarity,
    layout_faults,
    pooling_of,
)
from hub_trainer.finetune.similarity import (
    SIMILARITY_HEAD,
    CosentObjective,
    CosineObjective,
    Line,
    line_of,
    line_through,
    new_encoder,
    objective_for,
    pair_data,
)
from hub_trainer.finetune.tokenizers import load_tokenizer
from hub_trainer.finetune.trial import try_classifier
from hub_trainer.recipe import TrainSection
from hub_trainer.recipe.learning import LossSection
from hub_trainer.stages.publish.reload import reload
from hub_trainer.tasks import ModelFolders, Splits, load_task, outline, outline_for, task_of
from hub_trainer.tasks.sentence_similarity import TASK
from tests.tasks.factory import LABELS, WORDS, recipe, text_base

SETTINGS = {
    "learning_rate": 0.003,
    "num_train_epochs": 10,
    "per_device_train_batch_size": 16,
    "report_to": "none",
}
METRICS = ["spearman", "pearson", "mae", "recall_at_1", "recall_at_10"]
BLOCKS = ("body.encoder.layer.0.", "body.encoder.layer.1.")


def silent(share: float, doing: str) -> None:
    pass


def rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Pairs whose number, from 0 to 5, is the share of colours that both texts have."""
    rng, found = random.Random(seed), []
    for index in range(count):
        sides, kept = [], []
        for _ in range(2):
            chosen = rng.sample(LABELS, rng.randint(1, 3))
            words = [*rng.choices(WORDS[:8], k=rng.randint(1, 4)), *chosen]
            rng.shuffle(words)
            sides.append(" ".join(words))
            kept.append(set(chosen))
        first, second = kept
        target = 5.0 * len(first & second) / len(first | second)
        found.append(
            {
                "text": sides[0],
                "text_pair": sides[1],
                "target": target,
                "_row_id": f"{seed}-{index}",
            }
        )
    return found


def settings(**changes: Any) -> Any:
    return recipe(
        TASK.name,
        **{
            "evaluate__metrics": ["spearman"],
            "evaluate__primary": "spearman",
            "train__arguments": SETTINGS,
            **changes,
        },
    )


def fitted(out_dir: Path, base_dir: Path, splits: Splits | None = None, **changes: Any) -> Path:
    splits = splits or Splits(rows(240), rows(60, seed=1), [])
    TASK.fit(splits, settings(**changes), out_dir, base=ModelFolders(base_dir), progress=silent)
    return out_dir / "model"


def measured(found: Any, asked: Any) -> dict[str, float]:
    references = [row["target"] for row in asked]
    estimates = TASK.answer.estimates(METRICS, references, found, [], seed=0)
    return {name: estimate.value for name, estimate in estimates.items()}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def model(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted(tmp_path_factory.mktemp("model"), base)


# --- learned


def test_fit_when_done_then_it_is_better_than_the_untouched_base_in_the_data_s_units(
    base: Path, model: Path
) -> None:
    asked = rows(120, seed=2)
    untouched = TASK.predict_base(Splits(rows(240), [], []), asked, ModelFolders(base))
    assert untouched.description.startswith("the untouched base model: the cosine")
    before, after = (
        measured(found, asked)
        for found in (untouched.predictions, TASK.predict(ModelFolders(model), asked))
    )
    assert after["spearman"] > max(0.6, before["spearman"] + 0.2)
    assert after["mae"] < before["mae"] - 0.2


def test_fit_when_the_loss_is_cosent_then_it_learns_the_order(base: Path, tmp_path: Path) -> None:
    asked = rows(120, seed=2)
    folder = fitted(tmp_path, base, train__loss="cosent")
    found = measured(TASK.predict(ModelFolders(folder), asked), asked)
    assert found["spearman"] > 0.6
    assert found["mae"] < 1.2


@pytest.mark.parametrize(
    ("method", "more", "learned"),
    [
        ("full", {}, ("body.embeddings.", *BLOCKS)),
        ("last_n", {"train__last_n": 1}, BLOCKS[1:]),
        ("lora", {"train__lora": {"r": 2}}, ()),
        ("scratch", {}, ("body.embeddings.", *BLOCKS)),
        ("hybrid", {"train__hybrid": {"new_blocks": 1}}, ("body.embeddings.", *BLOCKS)),
    ],
)
def test_fit_when_a_method_is_named_then_it_trains_these_and_leaves_a_whole_model(
    method: str, more: Mapping[str, Any], learned: tuple[str, ...], base: Path, tmp_path: Path
) -> None:
    splits = Splits(rows(64), rows(16, seed=1), [])
    few = {**SETTINGS, "num_train_epochs": 1}
    folder = fitted(tmp_path, base, splits, train__method=method, train__arguments=few, **more)
    assert not (folder / ADAPTER_CONFIG).exists()
    before, after = (AutoModel.from_pretrained(one).state_dict() for one in (base, folder))
    moved = {f"body.{name}" for name in before if not torch.equal(before[name], after[name])}
    if method == "lora":
        assert {name.rsplit(".", 2)[-2] for name in moved} <= {"query", "key", "value", "dense"}
    for part in learned:
        assert any(name.startswith(part) for name in moved), part
    if method != "scratch":
        assert not any("pooler" in name for name in moved)
    if method == "last_n":
        assert all(name.startswith(BLOCKS[1]) for name in moved)


def test_fit_when_there_are_no_validation_rows_then_the_line_goes_through_training_rows(
    base: Path, tmp_path: Path
) -> None:
    few = {**SETTINGS, "num_train_epochs": 1}
    folder = fitted(tmp_path, base, Splits(rows(64), [], []), train__arguments=few)
    found = TASK.predict(ModelFolders(folder), rows(64))
    wanted = np.mean([row["target"] for row in rows(64)])
    assert np.mean([one.value for one in found]) == pytest.approx(wanted, abs=1e-3)


def test_cosine_objective_when_targets_have_units_then_their_ends_are_0_and_1() -> None:
    batch = {"labels": torch.tensor([0.0, 2.5, 5.0])}
    outputs = SequenceClassifierOutput(logits=torch.tensor([[0.0], [0.0], [1.0]]))  # type: ignore[arg-type]
    made = objective_for(None, [0.0, 5.0, 1.0])
    assert made == CosineObjective(0.0, 5.0)
    assert made.losses(outputs, batch).tolist() == [0.0, 0.25, 0.0]
    assert objective_for(None, [-0.5, 0.9]) == CosineObjective(0.0, 1.0)


def test_cosent_when_computed_then_is_the_formula_pair_by_pair() -> None:
    targets, cosines = [3.0, 1.0, 1.0, 2.0], [0.3, 0.5, -0.2, 0.1]
    terms = [
        math.exp(20 * (cosines[i] - cosines[j]))
        for i in range(4)
        for j in range(4)
        if targets[i] < targets[j]
    ]
    batch = {"labels": torch.tensor(targets)}
    outputs = SequenceClassifierOutput(logits=torch.tensor(cosines)[:, None])  # type: ignore[arg-type]
    losses = CosentObjective().losses(outputs, batch)
    assert losses.tolist() == pytest.approx([math.log(1 + sum(terms))] * 4, rel=1e-5)
    assert CosentObjective().amounts(batch).tolist() == [1.0] * 4
    alone = SequenceClassifierOutput(logits=torch.tensor([[0.4]]))  # type: ignore[arg-type]
    assert CosentObjective().losses(alone, {"labels": torch.tensor([1.0])}).tolist() == [0.0]
    assert objective_for(LossSection(name="cosent"), [0.0]) == CosentObjective()


def test_line_when_drawn_then_is_of_least_squares_and_always_rises() -> None:
    line = line_through([0.0, 0.5, 1.0], [1.0, 2.0, 3.0])
    assert (line.slope, line.intercept) == pytest.approx((2.0, 1.0))
    assert line([0.25]).tolist() == pytest.approx([1.5])
    assert line_through([0.0, 1.0], [3.0, 1.0]) == Line(1.0, 1.5)
    assert line_through([0.5, 0.5], [1.0, 3.0]) == Line(1.0, 1.5)


# --- the folder


def test_folder_when_strangers_load_it_then_automodel_has_all_its_weights(model: Path) -> None:
    _, info = AutoModel.from_pretrained(model, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    names = {path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()}
    assert set(TASK.card().files) <= names
    modules = json.loads((model / "modules.json").read_text())
    assert [one["path"] for one in modules] == ["", "1_Pooling", "2_Normalize"]
    pooling = json.loads((model / POOLING_FILE).read_text())
    assert (pooling["pooling_mode_mean_tokens"], pooling["pooling_mode_cls_token"]) == (True, False)
    assert pooling["word_embedding_dimension"] == 32
    assert json.loads((model / "sentence_bert_config.json").read_text())["max_seq_length"] == 24


def test_usage_when_run_as_it_stands_then_gives_the_cosine_and_the_number(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = TASK.card().usage.replace("{repo_id}", str(model)).replace("{commit_sha}", "main")
    usage = usage.replace("Write the first text here.", "my red card")
    usage = usage.replace("And here the second.", "the red blue one")
    exec(compile(usage, "usage", "exec"), {})
    cosine, number = map(float, capsys.readouterr().out.split())
    row = {"text": "my red card", "text_pair": "the red blue one"}
    [found] = TASK.predict(ModelFolders(model), [row])
    assert found.value == pytest.approx(number, abs=1e-4)
    first, second = found.vectors  # type: ignore[misc]
    assert float(first @ second) == pytest.approx(cosine, abs=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_base_when_its_layout_pools_in_a_way_then_that_is_kept_to_the_end(
    pooling: str, base: Path, tmp_path: Path
) -> None:
    layout = {
        "pooling_mode_cls_token": pooling == "cls",
        "pooling_mode_mean_tokens": pooling != "cls",
    }
    mine = text_base(tmp_path / "base")
    (mine / "1_Pooling").mkdir()
    (mine / POOLING_FILE).write_text(json.dumps(layout))
    few = {**SETTINGS, "num_train_epochs": 1}
    folder = fitted(tmp_path / "out", mine, Splits(rows(32), [], []), train__arguments=few)
    assert pooling_of(folder) == pooling
    asked = rows(6, seed=3)
    found = TASK.predict(ModelFolders(folder), asked)
    plain = SIMILARITY_HEAD.by_pipeline(pipeline("feature-extraction", model=str(folder)), asked)
    tokenizer, body = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    with torch.no_grad():
        hidden = body(**tokenizer(asked[0]["text"], return_tensors="pt")).last_hidden_state[0]
    vector = hidden[0] if pooling == "cls" else hidden.mean(dim=0)
    assert found[0].vectors is not None
    np.testing.assert_allclose(found[0].vectors[0], vector / vector.norm(), atol=1e-5)
    for one, other in zip(found, plain, strict=True):
        assert TASK.answer.difference(one, other) < TASK.answer.tolerance


def test_prediction_when_other_rows_are_asked_or_texts_change_places_then_stays(
    model: Path,
) -> None:
    asked = rows(40, seed=4)
    asked[0]["text"] = " ".join(WORDS[:4] * 20)  # longer than the model takes
    together = TASK.predict(ModelFolders(model), asked)
    turned = [{**row, "text": row["text_pair"], "text_pair": row["text"]} for row in asked]
    for number in (0, 7):
        [alone] = TASK.predict(ModelFolders(model), [asked[number]])
        assert alone.value == pytest.approx(together[number].value, abs=1e-5)
    other = [one.value for one in TASK.predict(ModelFolders(model), turned)]
    assert other == pytest.approx([one.value for one in together], abs=1e-5)
    assert TASK.predict(ModelFolders(model), []) == []


def test_reload_when_asked_by_publish_then_a_pipeline_of_features_says_the_same(
    model: Path, tmp_path: Path
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    asked = rows(12, seed=5)
    pq.write_table(pa.Table.from_pylist(asked), tmp_path / "rows.parquet")
    request = {
        "task": TASK.name,
        "answer": "number",
        "folder": str(model),
        "rows_file": str(tmp_path / "rows.parquet"),
        "indexes": [0, 5, 11],
        "label_names": [],
        "chat_template": False,
        "template": None,
        "base": None,
    }
    answer = reload(request)
    assert answer["loaded_with"] == "transformers `pipeline` of feature-extraction and hub_trainer"
    mine, plain = ([float(one["value"]) for one in answer[way]] for way in ("task", "plain"))
    assert plain == pytest.approx(mine, abs=1e-4)
    expected = TASK.predict(ModelFolders(model), [asked[place] for place in (0, 5, 11)])
    assert mine == pytest.approx([one.value for one in expected], abs=1e-5)


def test_base_when_it_is_a_model_of_an_earlier_round_then_answers_as_it_is(model: Path) -> None:
    asked = rows(6, seed=6)
    found = TASK.predict_base(Splits(rows(8), [], []), asked, ModelFolders(model))
    assert found.description == "the base model as it is"
    own = TASK.predict(ModelFolders(model), asked)
    assert [one.value for one in found.predictions] == [one.value for one in own]
    assert line_of(AutoModel.from_pretrained(model).config) is not None
    constant = TASK.predict_base(Splits(rows(8), [], []), asked, None)
    assert constant.description == "always the median of the training rows"


def test_features_when_asked_then_are_the_cosine_of_the_base(base: Path) -> None:
    asked = rows(5)
    features = TASK.features(asked, base)
    assert features.shape == (5, 1)
    found = TASK.predict(ModelFolders(base), asked)
    assert features[:, 0].tolist() == pytest.approx([one.value for one in found], abs=1e-6)


def test_trial_when_tried_for_a_plan_then_takes_rows_and_steps(base: Path) -> None:
    data = TASK.fit_data(Splits(rows(20), [], []), settings(), ModelFolders(base))
    trial = try_classifier(
        TASK.card().auto_class or "", base, TrainSection(arguments=SETTINGS), data, num_labels=0
    )
    assert trial.step_seconds
    assert trial.activation_bytes
    assert trial.inputs["tokens"] == sum(data.lengths or ())


def test_encoder_when_weights_of_its_body_are_missing_then_is_refused(
    base: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = text_base(tmp_path / "base")
    tensors = load_file(folder / "model.safetensors")
    kept = {name: one for name, one in tensors.items() if "layer.1.output" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Exception, match="lacks weights of its own body"):
        new_encoder(folder, from_weights=True, seed=0)
    kept = {name: one for name, one in tensors.items() if "pooler" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    assert new_encoder(folder, from_weights=True, seed=0).pooling == "mean"


def test_collate_when_of_pairs_then_all_first_texts_come_before_the_second_ones(
    base: Path,
) -> None:
    pairs = [{"text": "red", "text_pair": "a card", "target": 1.0},
             {"text": "blue", "text_pair": "is", "target": 0.0}]  # fmt: skip
    tokenizer = load_tokenizer(base, None)
    data = pair_data(tokenizer, pairs, [])
    batch = data.collate([dict(data.train[0]), dict(data.train[1])])
    texts = tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True)
    assert texts == ["red", "blue", "a card", "is"]
    assert (batch["labels"].tolist(), data.lengths) == ([1.0, 0.0], [7, 6])
    assert data.validation is None


# --- refused


def test_layout_when_it_asks_for_what_is_not_done_then_each_fault_is_told(
    tmp_path: Path,
) -> None:
    assert layout_faults(tmp_path) == []
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / POOLING_FILE).write_text(json.dumps({"pooling_mode": ["mean", "max"]}))
    modules = [{"type": f"sentence_transformers.models.{name}"} for name in ("Pooling", "Dense")]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    first, second = layout_faults(tmp_path)
    assert "pools the vectors of tokens by mean and max" in first
    assert "name a model that does by mean or cls" in first
    assert "has a layer Dense behind its body" in second
    (tmp_path / "modules.json").write_text("{")
    with pytest.raises(DataError, match="modules.json cannot be read"):
        layout_faults(tmp_path)


def test_base_when_it_has_a_decoder_or_another_layer_then_check_says_so(
    base: Path, tmp_path: Path
) -> None:
    folder = text_base(tmp_path / "dense")
    modules = [{"type": "sentence_transformers.models.Dense"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    [problem] = TASK.recipe_problems(settings(), ModelFolders(folder))
    assert "has a layer Dense" in problem.message
    both = text_base(tmp_path / "both")
    T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=40).save_pretrained(
        both
    )
    messages = [one.message for one in TASK.recipe_problems(settings(), ModelFolders(both))]
    assert any("an encoder with a decoder (t5), which gives no vectors" in one for one in messages)
    assert TASK.recipe_problems(settings(), ModelFolders(base)) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train__method": "head"},
            "does not offer 'head', as a cosine of embeddings has no layer of its own",
        ),
        (
            {"train__loss": "focal"},
            "focal is no loss of cosines; use cosent or in_batch, or remove it",
        ),
        (
            {"train__loss": "huber"},
            "huber is no loss of cosines; use cosent or in_batch, or remove it",
        ),
        ({"train__class_weights": True}, "train.class_weights: changes nothing"),
        ({"evaluate__metrics": ["accuracy"], "evaluate__primary": "accuracy"}, "'accuracy'"),
        ({"base_model": None}, "method full of sentence-similarity needs one"),
        ({"prepare__max_length": 40}, "40 tokens, but the base model takes 24"),
    ],
)
def test_recipe_when_it_does_not_suit_then_says_what(
    changes: Mapping[str, Any], message: str, base: Path
) -> None:
    folders = None if "base_model" in changes else ModelFolders(base)
    problems = TASK.recipe_problems(settings(**changes), folders)
    assert [one for one in problems if message in one.message], problems


def test_cosent_when_named_for_another_task_then_is_refused() -> None:
    made = recipe("text-classification", train__loss="cosent")
    problems = load_task("text-classification").recipe_problems(made, None)
    assert any("cosent is no loss of labels; use focal" in one.message for one in problems)


@pytest.mark.parametrize(
    ("row", "faults"),
    [
        ({"text": "a", "text_pair": "b", "target": 1}, []),
        ({"text": " ", "target": 1.0}, ["text is empty", "text_pair is empty"]),
        ({"text": "a", "text_pair": "b"}, ["target is missing"]),
        ({"text": "a", "text_pair": "b", "target": math.nan}, ["target is not a finite number"]),
    ],
)
def test_row_when_something_is_missing_then_says_what(row: Any, faults: list[str]) -> None:
    assert TASK.problems(row) == faults


# --- the recipe's columns and the Space


def test_task_when_a_recipe_names_its_columns_or_not_then_pairs_are_read() -> None:
    columns = {"text": "sentence1", "text_pair": "sentence2", "target": "score"}
    for named in (columns, {}):
        made = settings(collect__datasets=[{"repo_id": "org/data", "columns": named}])
        assert task_of(made) == TASK
        assert dict(outline_for(made).columns) == dict(TASK.columns)
    assert outline(TASK.name).auto_class == TASK.card().auto_class
    assert auto_class(TASK.card().auto_class or "") is AutoModelForSentenceSimilarity


def test_widgets_when_filled_in_then_make_a_pair() -> None:
    widgets = TASK.widgets([])
    assert [options["label"] for _, options in widgets.inputs] == ["Text", "Second text"]
    assert widgets.to_row(["a", "b"]) == {"text": "a", "text_pair": "b"}
    with pytest.raises(DataError, match="There is no text to compare"):
        widgets.to_row(["", " "])
    with pytest.raises(DataError, match="One of the two texts is missing"):
        widgets.to_row(["a", ""])


def test_widgets_when_a_text_is_too_long_for_the_model_then_the_visitor_is_told(
    model: Path,
) -> None:
    unread = TASK.widgets([]).unread
    assert unread is not None
    assert unread(model, {"text": "red", "text_pair": "blue"}) == []
    [told] = unread(model, {"text": "red " * 40, "text_pair": "blue " * 40})
    assert told.startswith("Only the first 24 of 42 tokens were read")


def test_tokens_when_counted_then_the_longer_text_of_a_row_counts(base: Path) -> None:
    asked = [{"text": "red", "text_pair": "a " * 30}, {"text": "red blue", "text_pair": "a"}]
    found = TASK.counts_tokens.token_counts(asked, settings(), ModelFolders(base))
    assert (found.counts, found.longest) == ([32, 4], 24)
    cut = settings(prepare__max_length=10)
    assert TASK.counts_tokens.token_counts(asked, cut, ModelFolders(base)).longest == 10


def test_fit_when_texts_are_longer_than_the_model_takes_then_a_note_counts_the_rows(
    base: Path, tmp_path: Path
) -> None:
    known = [*rows(15), {**rows(1)[0], "text": "red " * 60, "_row_id": "long"}]
    few = settings(train__arguments={**SETTINGS, "num_train_epochs": 1})
    report = TASK.fit(
        Splits(known, rows(4, seed=1), []),
        few,
        tmp_path,
        base=ModelFolders(base),
        progress=silent,
    )
    told = "1 of 16 training rows have a text of more than 24 tokens, which was cut at its end"
    assert report.notes == (told,)
