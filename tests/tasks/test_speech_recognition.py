"""Speech recognition: letters per frame and words one by one, learned and asked as strangers do."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import AutoConfig, Speech2TextConfig, pipeline

from hub_trainer import sounds
from hub_trainer.errors import DataError
from hub_trainer.finetune.auto_classes import SPEECH, AutoModelForSpeechRecognition
from hub_trainer.finetune.classifier_objective import IGNORED
from hub_trainer.finetune.heads import ASKED_HEADS
from hub_trainer.finetune.speech import load_extractor, new_learner, speech_data
from hub_trainer.finetune.speech_ctc import (
    LENGTHS,
    CtcObjective,
    frames_of,
    heard,
    is_too_short,
)
from hub_trainer.finetune.speech_text import (
    can_spell,
    letter_ids,
    new_tokenizer,
    own_tokenizer,
    read_letters,
    spelled,
    spoken,
)
from hub_trainer.finetune.speech_writing import language_code, writing_tokenizer
from hub_trainer.finetune.trial import try_classifier
from hub_trainer.inputs import load_input
from hub_trainer.recipe import TrainSection
from hub_trainer.sounds import to_wav
from hub_trainer.tasks import ModelFolders, Splits, outline_for
from hub_trainer.tasks.outlines import answer_of
from hub_trainer.tasks.speech_recognition import LANGUAGE, TASK
from tests.tasks.factory import ctc_base, recipe, speech_rows, text_base, whisper_base

LETTERS = "hilomz"
SETTINGS = {
    "learning_rate": 0.005,
    "num_train_epochs": 24,
    "per_device_train_batch_size": 8,
    "report_to": "none",
}
FEW = {
    **SETTINGS,
    "num_train_epochs": 4,
    "per_device_train_batch_size": 16,
    "eval_strategy": "no",
    "logging_steps": 1,
}
UNMASKED = "no parts of sounds were masked in training: some are too short for that"


def silent(share: float, doing: str) -> None:
    pass


def settings(**changes: Any) -> Any:
    chosen = {"train__arguments": FEW, **changes}
    return recipe(TASK.name, evaluate__metrics=["wer", "cer"], evaluate__primary="wer", **chosen)


def fitted(out_dir: Path, base_dir: Path | None, rows: Any = None, **changes: Any) -> Any:
    """The report of a fit, whose model is in `out_dir`."""
    splits = Splits(rows or speech_rows(12), speech_rows(6, seed=1), [])
    return TASK.fit(
        splits,
        settings(**changes),
        out_dir,
        base=ModelFolders(base_dir) if base_dir else None,
        progress=silent,
    )


def word_errors(model_dir: Path, rows: Any) -> float:
    found = TASK.predict(ModelFolders(model_dir), rows)
    references = [row["text"] for row in rows]
    return TASK.answer.estimates(["wer"], references, found, (), seed=0)["wer"].value


def by_stranger(model_dir: Path, rows: Any) -> list[str]:
    pipe = pipeline(TASK.name, model=str(model_dir))
    shown = [load_input("audio").for_pipeline(row) for row in rows]
    return [one.value for one in ASKED_HEADS["transcript"].by_pipeline(pipe, shown)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A body of waves that knows no letters."""
    return ctc_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def model(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("model")
    report = fitted(out, base, speech_rows(48, longest=3), train__arguments=SETTINGS)
    assert report.notes == ()
    assert report.tokens is None
    assert report.best_metric > 0.6
    return out / "model"


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whisper_base(tmp_path_factory.mktemp("whisper"))


# --- letters


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        ("Don't, stop — NOW!", "don't stop now"),
        ("It\u2019s 5.50 | ' ok", "it's 5 50 ok"),
        ("हिन्दी में", "हिन्दी में"),
        ("...", ""),
    ],
)
def test_spoken_when_read_aloud_then_only_what_is_heard(text: str, heard: str) -> None:
    assert spoken(text) == heard


def test_tokenizer_when_made_of_transcripts_then_reads_back_what_it_spells() -> None:
    tokenizer = new_tokenizer(["Hello, all", "yes"])
    assert sorted(tokenizer.get_vocab()) == sorted(["<pad>", "<unk>", "|", *"aehlosy"])
    [ids] = letter_ids(tokenizer, ["Hello all!"])
    assert read_letters(tokenizer, ids, per_frame=False) == "hello all"
    assert read_letters(tokenizer, ids) == "helo al"  # frames: what follows on itself is one
    blank = tokenizer.pad_token_id
    apart = [one for letter in ids for one in (letter, letter, blank)]
    assert read_letters(tokenizer, apart) == "hello all"
    assert read_letters(tokenizer, []) == ""
    assert not can_spell(tokenizer, ["quiz"])


def test_letters_when_the_base_has_capitals_then_spelled_in_those(tmp_path: Path) -> None:
    tokenizer = own_tokenizer(ctc_base(tmp_path, "HILOMZ"))
    assert spelled(tokenizer, "Hi, lo") == "HI LO"
    assert can_spell(tokenizer, ["hi lo zoom"])
    [ids] = letter_ids(tokenizer, ["hi lo"])
    assert read_letters(tokenizer, ids, per_frame=False) == "HI LO"


def test_own_tokenizer_when_there_is_none_of_letters_then_none(base: Path, tmp_path: Path) -> None:
    assert own_tokenizer(base) is None
    assert own_tokenizer(text_base(tmp_path)) is None
    (tmp_path / "vocab.json").write_text("[]")
    assert own_tokenizer(tmp_path) is None


# --- the objective


def test_ctc_when_compared_with_the_models_own_loss_then_equal(tmp_path: Path) -> None:
    folder = ctc_base(tmp_path, LETTERS)
    model = AutoModelForSpeechRecognition.from_pretrained(folder, dtype=torch.float32).eval()
    learner = new_learner(folder, ["hi lo zoom"], TrainSection())
    rows = speech_rows(5)
    data, _ = speech_data(learner, rows, [], "text")
    batch = data.collate([{k: v for k, v in data.train[n].items() if k != "weight"}
                          for n in range(5)])  # fmt: skip
    objective = CtcObjective(frames_of(model), 0)
    with torch.no_grad():
        losses, letters = objective.evaluated(model, batch)
        inputs = {k: v for k, v in batch.items() if torch.is_tensor(v)}
        own = model(**inputs).loss
    amounts = objective.amounts(batch)
    assert float((losses / amounts).mean()) == pytest.approx(float(own), rel=1e-4)
    frames = frames_of(model)(torch.tensor(batch[LENGTHS])).tolist()
    assert [int((row != IGNORED).sum()) for row in letters] == frames
    assert min(frames) < letters.shape[1] == max(frames)


def test_clip_when_too_short_for_its_letters_then_known_by_the_count() -> None:
    assert is_too_short(2, [5, 5])
    assert not is_too_short(3, [5, 5])
    log_probs = torch.zeros(2, 1, 9).log_softmax(-1)
    lost = functional.ctc_loss(log_probs, torch.tensor([[5, 5]]), [2], [2], reduction="none")
    assert torch.isinf(lost).all()


def test_sounds_when_made_ready_together_then_each_as_it_is_alone(tmp_path: Path) -> None:
    for kind in (False, True):
        extractor = load_extractor(ctc_base(tmp_path / str(kind), bert=kind))
        samples = [np.random.default_rng(n).normal(0, 0.1, 4_000 + 1_111 * n) for n in range(3)]
        together = heard(extractor, samples)
        name = extractor.model_input_names[0]
        for place, one in enumerate(samples):
            alone = heard(extractor, [one])
            length = alone[LENGTHS][0]
            assert together[LENGTHS][place] == length
            assert torch.equal(together[name][place, :length], alone[name][0])
            assert not together["attention_mask"][place, length:].any()


# --- learning


def test_fit_when_done_then_a_strangers_pipeline_writes_the_same(model: Path) -> None:
    rows = speech_rows(16, seed=2, longest=3)
    assert word_errors(model, rows) < 0.4
    found = [one.value for one in TASK.predict(ModelFolders(model), rows)]
    assert by_stranger(model, rows) == found
    assert [one.value for one in TASK.predict(ModelFolders(model), rows[3:5])] == found[3:5]
    assert TASK.predict(ModelFolders(model), []) == []
    vocabulary = json.loads((model / "vocab.json").read_text())
    assert set(vocabulary) == {"<pad>", "<unk>", "|", *LETTERS}


def test_usage_in_the_card_when_run_then_it_writes_what_is_said(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = next(one for one in speech_rows(4) if sounds.inspect(one["audio"]).rate == 16_000)
    (tmp_path / "clip.wav").write_bytes(row["audio"])
    monkeypatch.chdir(tmp_path)
    usage = TASK.card().usage
    exec(usage.replace("{repo_id}", str(model)).replace("{commit_sha}", "main"), {})
    assert capsys.readouterr().out.strip() == TASK.predict(ModelFolders(model), [row])[0].value


@pytest.mark.parametrize("method", ["head", "last_n", "lora", "scratch", "hybrid"])
def test_fit_when_the_method_is_another_then_a_model_that_loads(
    method: str, base: Path, tmp_path: Path
) -> None:
    more = {"train__last_n": 1} if method == "last_n" else {}
    chosen = settings(train__method=method, **more)
    assert TASK.recipe_problems(chosen, ModelFolders(base)) == []
    report = fitted(tmp_path, base, train__method=method, **more)
    losses = [one["loss"] for one in report.history if "loss" in one]
    assert losses[-1] < losses[0]
    rows = speech_rows(3, seed=3)
    found = [one.value for one in TASK.predict(ModelFolders(tmp_path / "model"), rows)]
    assert by_stranger(tmp_path / "model", rows) == found


def test_fit_when_there_is_no_base_then_a_small_model_of_its_own(tmp_path: Path) -> None:
    chosen = settings(train__method="scratch", base_model=None)
    assert TASK.recipe_problems(chosen, None) == []
    report = fitted(tmp_path, None, train__method="scratch", base_model=None)
    assert report.trainable_parameters < 200_000
    assert report.notes == (UNMASKED,)
    assert AutoConfig.from_pretrained(tmp_path / "model").model_type == "wav2vec2-bert"


def test_fit_when_the_base_knows_the_letters_then_it_keeps_them(
    model: Path, tmp_path: Path
) -> None:
    few = {**FEW, "learning_rate": 1e-7}
    assert fitted(tmp_path / "same", model, train__arguments=few).notes == ()
    rows = speech_rows(10, seed=2)
    assert word_errors(tmp_path / "same" / "model", rows) == word_errors(model, rows)
    others = [{**row, "text": f"{row['text']} quick"} for row in speech_rows(12)]
    report = fitted(tmp_path / "other", model, others, train__arguments=few)
    assert "the base model's letters lack some of the transcripts'" in report.notes[0]


def test_fit_when_clips_teach_nothing_then_left_out_and_counted(tmp_path: Path) -> None:
    folder = ctc_base(tmp_path / "base", masked=True)
    rows = speech_rows(12)
    long = "a text that is much too long for so short a clip " * 12
    report = fitted(tmp_path / "out", folder, [*rows, {**rows[0], "text": long}])
    assert report.rows == 12
    assert "1 clips were left out, too short for their transcripts" in report.notes
    beep = {**rows[0], "audio": to_wav(np.sin(np.arange(2_000) / 3).astype(np.float32), 16_000)}
    report = fitted(tmp_path / "short", folder, [*rows, {**beep, "text": "o"}])
    assert report.notes == (UNMASKED,)


@pytest.mark.parametrize("method", ["lora", "last_n"])
def test_whisper_when_fitted_then_the_loss_falls_and_a_stranger_reads_the_same(
    method: str, whisper: Path, tmp_path: Path
) -> None:
    more = {"train__last_n": 1} if method == "last_n" else {}
    assert TASK.recipe_problems(settings(train__method=method, **more), ModelFolders(whisper)) == []
    report = fitted(tmp_path, whisper, train__method=method, **more)
    losses = [one["loss"] for one in report.history if "loss" in one]
    assert losses[-1] < losses[0]
    rows = speech_rows(4, seed=2)
    found = [one.value for one in TASK.predict(ModelFolders(tmp_path / "model"), rows)]
    assert by_stranger(tmp_path / "model", rows) == found
    said = json.loads((tmp_path / "model" / "generation_config.json").read_text())
    assert (said["num_beams"], said["return_timestamps"], said["max_length"]) == (1, False, 32)
    assert "language" not in said


def test_whisper_when_it_knows_many_languages_then_learns_and_writes_one(tmp_path: Path) -> None:
    folder = whisper_base(tmp_path / "base", multilingual=True)
    fitted(tmp_path, folder, train__speech={"language": "Swahili"})
    said = json.loads((tmp_path / "model" / "generation_config.json").read_text())
    assert (said["language"], said["task"]) == ("sw", "transcribe")
    learner = new_learner(folder, ["hi"], TrainSection(speech={"language": "sw"}), on_paper=True)
    [ids] = learner.targets(["hi"])
    signs = learner.tokenizer.convert_ids_to_tokens(ids)
    assert signs == ["<|sw|>", "<|transcribe|>", "<|notimestamps|>", "h", "i", "<|endoftext|>"]
    rows = speech_rows(2, seed=2)
    found = [one.value for one in TASK.predict(ModelFolders(tmp_path / "model"), rows)]
    assert by_stranger(tmp_path / "model", rows) == found


def test_whisper_when_of_english_alone_then_no_language_is_written(whisper: Path) -> None:
    learner = new_learner(whisper, ["hi"], TrainSection(), on_paper=True)
    data, _ = speech_data(learner, [{**speech_rows(1)[0], "text": "hi"}], [], "text")
    row = {k: v for k, v in data.train[0].items() if k != "weight"}
    labels = data.collate([row, {**row, "labels": row["labels"][:2]}])["labels"]
    signs = learner.tokenizer.convert_ids_to_tokens(labels[0].tolist())
    assert signs == ["<|notimestamps|>", "h", "i", "<|endoftext|>"]
    assert labels[1].tolist()[2:] == [IGNORED, IGNORED]


def test_whisper_when_a_clip_or_a_text_is_too_long_then_left_out(
    whisper: Path, tmp_path: Path
) -> None:
    learner = new_learner(whisper, [], TrainSection(), on_paper=True)
    rows = speech_rows(3, longest=2)
    long = to_wav(np.sin(np.arange(20_000) / 3).astype(np.float32), 16_000)
    odd = [{**rows[0], "audio": long}, {**rows[0], "text": "la " * 30}]
    data, notes = speech_data(learner, [*rows, *odd], [], "text")
    assert len(data.train) == 3
    assert notes == (
        "1 clips were left out, longer than the model hears at once",
        "1 clips were left out, with a transcript longer than the model writes",
    )


# --- the base


def test_predict_base_when_it_has_no_letters_then_none(
    base: Path, whisper: Path, model: Path
) -> None:
    rows = speech_rows(3)
    assert TASK.predict_base(Splits(rows, [], []), rows, ModelFolders(base)) is None
    for folder in (whisper, model):
        found = TASK.predict_base(Splits(rows, [], []), rows, ModelFolders(folder))
        assert found is not None
        assert found.description == "the base model as it is"
        assert [one.value for one in found.predictions] == [
            one.value for one in TASK.predict(ModelFolders(folder), rows)
        ]
    constant = TASK.predict_base(Splits(rows, [], []), rows, None)
    assert constant is not None
    assert "training rows" in constant.description


def test_fit_data_when_planned_then_the_rows_without_weights(base: Path, whisper: Path) -> None:
    for folder in (base, whisper):
        data = TASK.fit_data(Splits(speech_rows(4), [], []), settings(), ModelFolders(folder))
        assert len(data.train) == 4
        assert data.validation is None
        assert data.lengths is None  # so few would be in the same batches in every epoch
        trial = try_classifier(SPEECH, folder, TrainSection(), data, num_labels=0)
        assert trial.step_seconds
        assert set(trial.inputs) == {"heard"}


def test_clips_when_augmented_then_only_those_of_training_change(base: Path) -> None:
    rows = speech_rows(3)
    learner = new_learner(base, [row["text"] for row in rows], TrainSection())
    plain, _ = speech_data(learner, rows, rows, "text")
    data, _ = speech_data(learner, rows, rows, "text", ["noise", "pause"])
    assert plain.validation is not None
    assert data.validation is not None
    for place in range(3):
        known = plain.train[place]["samples"]
        random.seed(0)
        found = data.train[place]["samples"]
        random.seed(0)
        assert np.array_equal(found, data.train[place]["samples"])
        assert found.shape != known.shape or not np.allclose(found, known)
        assert np.array_equal(data.validation[place]["samples"], known)


# --- refusals


def said_of(base_dir: Path | None, **changes: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in TASK.recipe_problems(
        settings(**changes), ModelFolders(base_dir) if base_dir else None
    ):
        found[one.key] = f"{found.get(one.key, '')} {one.message}".strip()
    return found


def test_recipe_when_keys_change_nothing_then_each_is_named(base: Path) -> None:
    wrong = said_of(
        base,
        prepare__max_length=30,
        train__class_weights=True,
        train__speech={"language": "sw"},
        prepare__augment=["flip"],
    )
    assert set(wrong) == {
        "prepare.max_length", "train.class_weights", "train.speech", "prepare.augment",
    }  # fmt: skip
    assert "changes nothing in automatic-speech-recognition" in wrong["train.speech"]
    assert set(said_of(None, base_model=None)) == {"base_model"}
    alone = said_of(None, base_model=None, train__method="scratch", train__speech={})
    assert set(alone) == {"train.speech"}


def test_recipe_when_a_language_is_missing_or_unknown_then_says_what_to_write(
    tmp_path: Path, whisper: Path
) -> None:
    many = whisper_base(tmp_path, multilingual=True)
    assert "name the one that is spoken" in said_of(many)[LANGUAGE]
    assert (
        "'Elvish' is none of the base model's"
        in (said_of(many, train__speech={"language": "Elvish"})[LANGUAGE])
    )
    assert said_of(many, train__speech={"language": "swahili"}) == {}
    assert set(said_of(whisper, train__speech={"language": "sw"})) == {"train.speech"}
    assert (language_code("SW"), language_code("Castilian"), language_code("x")) == (
        "sw", "es", None,
    )  # fmt: skip
    assert writing_tokenizer(many, "sw").language == "sw"


def test_recipe_when_the_base_cannot_hear_then_says_so(
    base: Path, whisper: Path, tmp_path: Path
) -> None:
    assert (
        "a bert, which does not write down speech"
        in (said_of(text_base(tmp_path / "text"))["base_model"])
    )
    deaf = ctc_base(tmp_path / "deaf")
    (deaf / "preprocessor_config.json").unlink()
    assert "has no feature extractor" in said_of(deaf)["base_model"]
    mute = whisper_base(tmp_path / "mute")
    (mute / "tokenizer.json").unlink()
    (mute / "tokenizer_config.json").unlink()
    assert "has no tokenizer" in said_of(mute)["base_model"]
    other = whisper_base(tmp_path / "other")
    Speech2TextConfig(
        vocab_size=20, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, conv_channels=16,
    ).save_pretrained(other)  # fmt: skip
    assert "only whisper is trained" in said_of(other)["base_model"]
    assert "no head of its own" in said_of(whisper, train__method="head")["train.method"]


@pytest.mark.parametrize(
    ("row", "faults"),
    [
        ({"audio": b"", "text": ""}, ["audio is empty", "text is empty"]),
        ({"audio": b"hello", "text": "hi"}, ["no sound in a known format"]),
        (
            {"audio": to_wav(np.ones(31 * 1_000, np.float32), 1_000), "text": "hi"},
            ["sound longer than 30 seconds"],
        ),
    ],
)
def test_row_when_looked_at_then_its_faults(row: dict[str, Any], faults: list[str]) -> None:
    assert TASK.problems(row) == faults
    assert TASK.problems(speech_rows(1)[0]) == []


def test_recipe_when_it_names_the_transcripts_column_then_that_is_the_answer() -> None:
    named = [{"repo_id": "org/data", "columns": {"text": "sentence", "audio": "clip"}}]
    assert answer_of(settings(collect={"datasets": named})) == "transcript"
    assert outline_for(settings()).answer == "transcript"
    of_texts = recipe("text-classification", collect={"datasets": named})
    assert answer_of(of_texts) is None
    assert outline_for(of_texts).answer == "label"


def test_widgets_when_a_clip_is_given_then_it_becomes_a_row(tmp_path: Path) -> None:
    widgets = TASK.widgets([])
    assert widgets.inputs[0][0] == "Audio"
    path = tmp_path / "clip.wav"
    path.write_bytes(speech_rows(1)[0]["audio"])
    row = widgets.to_row([str(path)])
    assert TASK.problems({**row, "text": "hi"}) == []
    with pytest.raises(DataError, match="There is no sound yet"):
        widgets.to_row([None])
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="The model cannot take this: no sound"):
        widgets.to_row([str(path)])
