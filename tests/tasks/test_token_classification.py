"""Token classification: words cut into pieces, windows of long texts, and a stranger's pipeline."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModelForTokenClassification,
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    pipeline,
)

from hub_trainer.answers import Prediction
from hub_trainer.answers.span_reading import tagged
from hub_trainer.errors import DataError
from hub_trainer.finetune.classifier_objective import IGNORED
from hub_trainer.finetune.heads import SPANS_HEAD
from hub_trainer.finetune.word_pieces import encoded, first_pieces, tag_labels, windows_of
from hub_trainer.tasks import ModelFolders, Splits
from hub_trainer.tasks.token_classification import TASK
from tests.tasks.factory import recipe, tagged_rows, text_base

NAMES = ["color", "thing"]
SETTINGS = {
    "learning_rate": 0.003,
    "num_train_epochs": 12,
    "per_device_train_batch_size": 16,
    "report_to": "none",
}


def silent(share: float, doing: str) -> None:
    pass


def fitted(out_dir: Path, base_dir: Path, rows: Any = None, **changes: Any) -> Path:
    settings = recipe(
        TASK.name,
        evaluate__metrics=["entity_f1"],
        evaluate__primary="entity_f1",
        **{"train__arguments": SETTINGS, **changes},
    )
    splits = Splits(rows or tagged_rows(160), tagged_rows(30, seed=1), NAMES)
    report = TASK.fit(
        splits,
        settings,
        out_dir,
        base=ModelFolders(base_dir) if base_dir else None,
        progress=silent,
    )
    assert report.rows == len(splits.train)
    return out_dir / "model"


def measured(found: list[Prediction], rows: Any) -> float:
    references = [row["tags"] for row in rows]
    return TASK.answer.estimates(["entity_f1"], references, found, NAMES, seed=0)["entity_f1"].value


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def model(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted(tmp_path_factory.mktemp("model"), base)


def pieces_of(max_length: int = 12) -> Any:
    """A tokenizer of single letters: every word is as many pieces as it has letters."""
    vocabulary = {sign: n for n, sign in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])}
    for letter in "abcdefghijklmnopqrstuvwxyz-":
        vocabulary |= {letter: len(vocabulary), f"##{letter}": len(vocabulary) + 1}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", model_max_length=max_length,
    )  # fmt: skip


def letters_base(folder: Path) -> Path:
    """An encoder of letters, which takes 24 of them at once."""
    tokenizer = pieces_of(24)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=24, initializer_range=0.2,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


# --- words and pieces


def test_pieces_when_a_word_is_cut_then_its_first_alone_has_the_tag() -> None:
    tokenizer = pieces_of()
    [window] = windows_of(tokenizer, ["a big red"])
    [row] = encoded(tokenizer, [window])
    assert row["first_pieces"] == [1, 2, 5]
    labels = tag_labels(row, [7, 8, 9], window.own, window.first)
    assert labels == [IGNORED, 7, 8, IGNORED, IGNORED, 9, IGNORED, IGNORED, IGNORED]


@pytest.mark.parametrize(
    ("offsets", "expected"),
    [
        ([(0, 2), (3, 4), (4, 7)], [0, 1]),
        ([(0, 2), (2, 4), (4, 7)], [0, 1]),  # the blank is counted to the word behind it
        ([(0, 0), (0, 2), (0, 0)], [1, -1]),
    ],
)
def test_first_pieces_when_a_tokenizer_counts_otherwise_then_still_the_first(
    offsets: list[tuple[int, int]], expected: list[int]
) -> None:
    assert first_pieces(offsets, ["ab", "cdef"], "ab cdef") == expected


@pytest.mark.parametrize("seed", range(20))
def test_windows_when_a_text_is_long_then_each_word_is_counted_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    words = ["a" * int(length) for length in rng.integers(1, 14, size=40)]
    tokenizer = pieces_of(16)
    windows = windows_of(tokenizer, ["a b", " ".join(words), "c"])
    assert (windows[0].words, windows[-1].words) == (["a", "b"], ["c"])
    inner = windows[1:-1]
    assert len(inner) > 3
    assert [number for one in inner for number in one.own] == list(range(40))
    for one in inner:
        assert list(one.words) == words[one.first : one.first + len(one.words)]
        assert set(one.own) <= set(range(one.first, one.first + len(one.words)))
    rows = encoded(tokenizer, inner)
    assert all(place >= 0 for row in rows for place in row["first_pieces"])


def test_windows_when_a_word_has_no_piece_then_it_is_outside(model: Path) -> None:
    tokenizer = pieces_of()
    [row] = encoded(tokenizer, windows_of(tokenizer, ["a \u0301 b"]))
    assert row["first_pieces"] == [1, -1, 2]
    scores = [np.array([[0.1, 0.9, 0.0], [0.0, 0.0, 0.0], [0.0, 0.2, 0.8]], np.float32)]
    config = BertConfig(id2label={0: "O", 1: "B-x", 2: "I-x"})
    [found] = SPANS_HEAD.predictions(["a b c"], scores, config)
    assert [tag for _, tag in found.value] == ["B-x", "O", "B-x"]
    assert found.scores == {"x": pytest.approx(0.9)}


# --- learning


def test_fit_when_done_then_a_strangers_pipeline_says_the_same(model: Path) -> None:
    test = tagged_rows(60, seed=2)
    found = TASK.predict(ModelFolders(model), test)
    assert measured(found, test) > 0.95
    stranger: Any = pipeline(TASK.name, model=str(model), aggregation_strategy="simple")
    for row, one in zip(test[:10], found, strict=False):
        said = [(e["start"], e["end"], e["entity_group"]) for e in stranger(row["text"])]
        assert said == [
            (s["start"], s["end"], s["label"])
            for s in json.loads(TASK.answer.dumps(one.value))["spans"]
        ]
    plain: Any = pipeline(TASK.name, model=str(model))
    again = SPANS_HEAD.by_pipeline(plain, [row["text"] for row in test])
    worst = [TASK.answer.difference(a, b) for a, b in zip(found, again, strict=True)]
    assert max(worst) < 1e-5


@pytest.mark.parametrize(
    ("method", "least"),
    [("head", 0.3), ("last_n", 0.6), ("lora", 0.6), ("scratch", 0.9), ("hybrid", 0.9)],
)
def test_fit_when_the_method_is_another_then_it_learns_as_well(
    method: str, least: float, base: Path, tmp_path: Path
) -> None:
    more = {"train__last_n": 1} if method == "last_n" else {}
    folder = fitted(tmp_path, base, train__method=method, **more)
    test = tagged_rows(40, seed=2)
    assert measured(TASK.predict(ModelFolders(folder), test), test) > least


def test_fit_when_texts_are_longer_than_the_model_takes_then_all_of_them_is_read(
    tmp_path: Path,
) -> None:
    def long(count: int, seed: int) -> list[dict[str, Any]]:
        rng, rows = np.random.default_rng(seed), []
        for number in range(count):
            words = rng.choice(["red", "big", "the", "go"], size=30).tolist()
            spans = [(n, n + 1, "color") for n, word in enumerate(words) if word == "red"]
            rows.append({"text": " ".join(words), "tags": tagged(words, spans),
                         "_row_id": f"{seed}-{number}"})  # fmt: skip
        return rows

    base = letters_base(tmp_path / "base")
    shorter = {**SETTINGS, "num_train_epochs": 6}
    folder = fitted(tmp_path, base, long(160, 0), train__arguments=shorter)
    test = long(20, 3)
    found = TASK.predict(ModelFolders(folder), test)
    assert measured(found, test) > 0.95
    again = SPANS_HEAD.by_pipeline(
        pipeline(TASK.name, model=str(folder)), [row["text"] for row in test]
    )
    assert max(TASK.answer.difference(a, b) for a, b in zip(found, again, strict=True)) < 1e-5


def test_fit_when_there_is_nothing_to_validate_on_then_it_learns_and_heavy_rows_count_more(
    base: Path, tmp_path: Path
) -> None:
    settings = recipe(
        TASK.name, evaluate__metrics=["entity_f1"], evaluate__primary="entity_f1",
        train__arguments=SETTINGS,
    )  # fmt: skip
    right, wrong = tagged_rows(80), tagged_rows(80, seed=7)
    for row in wrong:
        row["tags"] = [[word, "O"] for word, _ in row["tags"]]
    rows = [{**row, "_weight": 1.0} for row in right] + [{**row, "_weight": 0.01} for row in wrong]
    TASK.fit(Splits(rows, [], NAMES), settings, tmp_path, base=ModelFolders(base), progress=silent)
    test = tagged_rows(40, seed=2)
    assert measured(TASK.predict(ModelFolders(tmp_path / "model"), test), test) > 0.9


def test_fit_when_it_goes_on_from_its_own_model_then_the_head_is_kept(
    model: Path, tmp_path: Path
) -> None:
    few = {**SETTINGS, "num_train_epochs": 1, "learning_rate": 1e-7}
    again = fitted(tmp_path, model, train__arguments=few)
    test = tagged_rows(40, seed=2)
    assert measured(TASK.predict(ModelFolders(again), test), test) > 0.95


def test_model_when_loaded_plainly_then_its_config_names_the_tags(model: Path) -> None:
    loaded = AutoModelForTokenClassification.from_pretrained(model)
    assert list(loaded.config.id2label.values()) == [
        "O", "B-color", "I-color", "B-thing", "I-thing",
    ]  # fmt: skip


def test_predict_base_when_untouched_then_says_how_it_was_asked(base: Path, model: Path) -> None:
    splits, test = Splits(tagged_rows(60), [], NAMES), tagged_rows(10, seed=1)
    found = TASK.predict_base(splits, test, ModelFolders(base))
    assert "nearest mean embedding" in found.description
    assert [len(one.value) for one in found.predictions] == [len(row["tags"]) for row in test]
    assert (
        TASK.predict_base(splits, test, ModelFolders(model)).description
        == "the base model as it is"
    )
    constant = TASK.predict_base(splits, test, None)
    assert constant.description == "no span in any of the training rows"
    assert measured(list(constant.predictions), test) == 0


# --- refusals


def test_recipe_when_settings_change_nothing_then_each_is_named(base: Path) -> None:
    wrong = recipe(
        TASK.name, train__class_weights=True, evaluate__metrics=["accuracy"],
        evaluate__primary="accuracy", prepare__max_length=500,
    )  # fmt: skip
    told = " ".join(one.message for one in TASK.recipe_problems(wrong, ModelFolders(base)))
    assert "train.class_weights: changes nothing" in told
    assert "does not offer 'accuracy'; it offers entity_f1" in told
    assert "500 tokens, but the base model takes 24" in told
    right = recipe(TASK.name, evaluate__metrics=["entity_f1"], evaluate__primary="entity_f1")
    assert TASK.recipe_problems(right, ModelFolders(base)) == []


@pytest.mark.parametrize(
    ("row", "faults"),
    [
        ({"text": "a b", "tags": [["a", "O"], ["b", "B-x"]]}, []),
        ({"text": "a b", "tags": [["a", "O"]]}, ["tags are those of another text"]),
        ({"text": " ", "tags": None}, ["text is empty", "tags are missing"]),
        ({"text": "a", "tags": []}, ["tags and tokens differ in number"]),
    ],
)
def test_row_when_looked_at_then_its_faults(row: dict[str, Any], faults: list[str]) -> None:
    assert TASK.problems(row) == faults


def test_widgets_when_a_text_is_written_then_words_with_blanks_between() -> None:
    widgets = TASK.widgets([])
    assert widgets.to_row(["A (red) card,\n please."]) == {"text": "A ( red ) card , please ."}
    assert widgets.to_row(["a red card ."]) == {"text": "a red card ."}
    for nothing in ("", " \u200b", None):
        with pytest.raises(DataError, match="no text to look at"):
            widgets.to_row([nothing])
    with pytest.raises(DataError, match="and 10,000 is the limit"):
        widgets.to_row(["a" * 10_001])
