import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import pipeline

from hub_trainer.errors import DataError, TrainingError
from hub_trainer.finetune.sound_augment import AUGMENTATIONS
from hub_trainer.finetune.sound_batches import load_extractor, needs_equal_lengths, sound_batches
from hub_trainer.finetune.trial import try_classifier
from hub_trainer.inputs.audio import INPUT
from hub_trainer.sounds import inspect, open_sound
from hub_trainer.tasks import ModelFolders, load_task, rated_example
from hub_trainer.tasks.audio_classification import TASK, Sounds
from tests.sounds import encoded, tone
from tests.tasks.factory import recipe, sound_base, sound_rows, splits

ARGUMENTS = {
    "learning_rate": 5e-3,
    "num_train_epochs": 2,
    "per_device_train_batch_size": 12,
    "lr_scheduler_type": "constant",
}
METHODS: dict[str, dict[str, Any]] = {
    "full": {},
    "head": {},
    "last_n": {"train__last_n": 1},
    "lora": {"train__lora": {"r": 4, "lora_alpha": 8}},
    "scratch": {},
    "hybrid": {"train__layer_decay": 0.8, "train__l1": 1e-4, "train__loss": "focal"},
}
KINDS = ("wav2vec2", "wav2vec2-mask", "hubert", "ast", "whisper")


def silent(share: float, doing: str) -> None:
    pass


def fit(out_dir: Path, base_dir: Path | None, method: str = "full", **changes: Any) -> Any:
    chosen = recipe(
        "audio-classification",
        **{"train__method": method, "train__arguments": ARGUMENTS, **METHODS[method], **changes},
    )
    return TASK.fit(
        splits(sound_rows(48)),
        chosen,
        out_dir,
        base=ModelFolders(base_dir) if base_dir else None,
        progress=silent,
    )


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory, sound_base_dir: Path) -> Path:
    out_dir = tmp_path_factory.mktemp("fitted")
    fit(out_dir, sound_base_dir, prepare__augment=["shift", "noise"])
    return out_dir / "model"


def test_load_task_when_asked_for_then_gives_this_one() -> None:
    assert load_task("audio-classification") is TASK


@pytest.mark.parametrize("method", sorted(METHODS))
def test_fit_when_done_by_any_method_then_saves_a_plain_model(
    method: str, tmp_path: Path, sound_base_dir: Path
) -> None:
    few = {**ARGUMENTS, "num_train_epochs": 1}
    report = fit(tmp_path, sound_base_dir, method, train__arguments=few)
    folder = tmp_path / "model"
    names = {path.name for path in folder.iterdir()}
    assert names == {"config.json", "model.safetensors", "preprocessor_config.json"}
    assert names == set(TASK.card().files)
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"] == {"0": "blue", "1": "green", "2": "red"}
    assert str(sound_base_dir) not in (folder / "config.json").read_text()
    assert report.method == method
    base = load_file(sound_base_dir / "model.safetensors")
    model = load_file(folder / "model.safetensors")
    changed = {n for n, v in base.items() if n in model and not _equal(v, model[n])}
    body = {name for name in changed if name.startswith("wav2vec2.")}
    if method == "head":
        assert body == set()
    elif method == "last_n":
        assert body
        assert not any("feature_extractor" in name for name in body)
    else:
        assert any("encoder.layers.0" in name for name in body)


@pytest.mark.parametrize("method", ["head", "full"])
def test_fit_when_the_model_hears_a_mask_then_its_samples_are_no_tokens(
    method: str, tmp_path: Path
) -> None:
    few = {**ARGUMENTS, "num_train_epochs": 1}
    base = sound_base(tmp_path / "base", "wav2vec2-mask")
    report = fit(tmp_path, base, method, train__arguments=few)
    assert report.tokens is None
    rows = sound_rows(3, seed=9)
    _assert_as_pipeline(
        tmp_path / "model", TASK.predict(ModelFolders(tmp_path / "model"), rows), rows
    )


@pytest.mark.parametrize("kind", ["whisper", "ast", "hubert"])
def test_fit_when_only_the_head_learns_then_the_body_stays_as_it_was(
    kind: str, tmp_path: Path
) -> None:
    few = {**ARGUMENTS, "num_train_epochs": 1}
    base = sound_base(tmp_path / "base", kind)
    fit(tmp_path, base, "head", train__arguments=few)
    before, after = (load_file(one / "model.safetensors") for one in (base, tmp_path / "model"))
    changed = {name for name in after if not _equal(before[name], after[name])}
    assert changed
    assert all(name.startswith(("classifier.", "projector.")) for name in changed)


def test_base_when_weights_of_its_body_are_missing_then_training_refuses_it(tmp_path: Path) -> None:
    base = sound_base(tmp_path / "base", "whisper")
    weights = load_file(base / "model.safetensors")
    weights.pop("encoder.layers.0.fc1.weight")
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TrainingError, match="lacks weights of its own body"):
        fit(tmp_path, base, "head")


def _equal(first: torch.Tensor, second: torch.Tensor) -> bool:
    return first.shape == second.shape and first.equal(second)


def test_fit_when_there_is_no_base_then_builds_a_small_model_that_learns(tmp_path: Path) -> None:
    few = {**ARGUMENTS, "learning_rate": 2e-3, "num_train_epochs": 4}
    report = fit(tmp_path, None, "scratch", base_model=None, train__arguments=few)
    assert report.trainable_parameters < 500_000
    rows = sound_rows(30, seed=9)
    found = TASK.predict(ModelFolders(tmp_path / "model"), rows)
    assert TASK.answer.scores([row["label"] for row in rows], found).sum() / 30 > 0.6
    _assert_as_pipeline(tmp_path / "model", found[:3], rows[:3])


@pytest.mark.parametrize("kind", KINDS)
def test_predict_when_rows_are_of_many_lengths_then_says_what_a_pipeline_says_of_each(
    kind: str, tmp_path: Path
) -> None:
    folder = sound_base(tmp_path, kind)
    rows = [
        {"audio": encoded(tone(seconds, pitch=pitch), 8_000, kind)}
        for seconds, pitch, kind in [
            (0.3, 200, "WAV"), (1.1, 900, "FLAC"), (0.3, 500, "WAV"), (0.06, 300, "WAV")
        ]
    ]  # fmt: skip
    rows.append({"audio": encoded(tone(0.7, rate=16_000), 16_000, "OGG")})
    _assert_as_pipeline(folder, TASK.predict(ModelFolders(folder), rows), rows)


def _assert_as_pipeline(folder: Path, found: Any, rows: Any) -> None:
    classify = pipeline("audio-classification", model=str(folder))
    rate = classify.feature_extractor.sampling_rate
    for row, mine in zip(rows, found, strict=True):
        theirs = classify(INPUT.for_pipeline(row, sampling_rate=rate))
        assert mine.value == theirs[0]["label"]
        assert dict(mine.scores) == pytest.approx(
            {one["label"]: one["score"] for one in theirs}, abs=1e-4
        )


def test_batches_when_the_model_hears_no_mask_then_hold_equal_lengths(tmp_path: Path) -> None:
    rows = [{"audio": encoded(tone(seconds))} for seconds in (0.3, 0.5, 0.3, 0.4)]
    for kind, expected in (("wav2vec2", [1, 1, 2]), ("wav2vec2-mask", [4]), ("ast", [4])):
        extractor = load_extractor(sound_base(tmp_path / kind, kind))
        assert needs_equal_lengths(extractor) == (kind == "wav2vec2")
        batches = list(sound_batches(extractor, rows))
        assert [len(chosen) for chosen, _ in batches] == expected
        assert sorted(n for chosen, _ in batches for n in chosen) == [0, 1, 2, 3]


def test_batches_when_sounds_are_long_then_few_are_in_one(tmp_path: Path) -> None:
    extractor = load_extractor(sound_base(tmp_path, "wav2vec2-mask"))
    rows = [{"audio": encoded(tone(50.0))}] * 3
    assert [len(chosen) for chosen, _ in sound_batches(extractor, rows)] == [2, 1]


def test_predict_when_there_are_no_rows_then_gives_none(fitted: Path) -> None:
    assert TASK.predict(ModelFolders(fitted), []) == []


@pytest.mark.slow
def test_fit_when_augmented_and_seeds_are_equal_then_weights_are_equal(
    fitted: Path, tmp_path: Path, sound_base_dir: Path
) -> None:
    fit(tmp_path, sound_base_dir, prepare__augment=["shift", "noise"])
    again = (tmp_path / "model" / "model.safetensors").read_bytes()
    assert (fitted / "model.safetensors").read_bytes() == again


def test_sounds_when_augmented_then_differ_each_time_but_not_for_one_seed() -> None:
    rows = [{"audio": encoded(tone())}]
    source = Sounds(rows, [0], [1.0], ["gain", "shift"], 8_000)
    random.seed(5)
    first, second = (source[0]["sound"].tobytes() for _ in range(2))
    random.seed(5)
    assert source[0]["sound"].tobytes() == first
    assert first != second
    plain = Sounds(rows, [0], [1.0], [], 8_000)
    assert np.allclose(plain[0]["sound"], tone(), atol=1e-4)


def test_sounds_when_very_short_then_are_filled_up_with_silence_for_training() -> None:
    (one,) = Sounds([{"audio": encoded(tone(0.06))}], [0], [1.0], [], 8_000)
    assert len(one["sound"]) == 2_000
    assert not one["sound"][600:].any()


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_augmentation_when_applied_then_changes_the_wave_and_is_the_same_for_a_seed(
    name: str,
) -> None:
    heard = tone()
    heard[1_500:2_700] = 0.0  # 0.15 s of silence, which one of them makes as long as 0.6 s
    made = [AUGMENTATIONS[name](heard, 8_000, np.random.default_rng(n)) for n in range(4)]
    assert {one.dtype for one in made} == {np.dtype(np.float32)}
    longest = 4_000 + 0.45 * 8_000 if name == "pause" else 1.3 * 4_000
    assert all(0.85 * 4_000 <= len(one) <= longest for one in made)
    assert any(len(one) != 4_000 or not np.array_equal(one, heard) for one in made)
    again = AUGMENTATIONS[name](heard, 8_000, np.random.default_rng(2))
    assert np.array_equal(again, made[2])


@pytest.mark.parametrize("kind", KINDS)
def test_predict_base_when_it_knows_other_labels_then_takes_the_nearest_mean(
    kind: str, tmp_path: Path
) -> None:
    rows = sound_rows(12, seed=9)
    base = TASK.predict_base(splits(sound_rows(36)), rows, ModelFolders(sound_base(tmp_path, kind)))
    assert "nearest mean features" in base.description
    assert len(base.predictions) == 12
    right = TASK.answer.scores([row["label"] for row in rows], base.predictions).sum()
    assert right / 12 > 0.5


def test_predict_base_when_there_is_none_then_says_the_commonest_label() -> None:
    rows = sound_rows(31)
    base = TASK.predict_base(splits(rows), rows[:4], None)
    assert len({one.value for one in base.predictions}) == 1


def test_recipe_problems_when_many_keys_are_wrong_then_names_them_all() -> None:
    wrong = recipe(
        "audio-classification",
        base_model=None,
        train__estimator="random_forest",
        prepare__max_length=12,
        prepare__augment=["noise", "flip"],
    )
    problems = {one.key: one.message for one in TASK.recipe_problems(wrong, None)}
    assert set(problems) == {
        "base_model",
        "train.estimator",
        "prepare.max_length",
        "prepare.augment",
    }
    assert "it offers gain, noise, pause, shift, speed" in problems["prepare.augment"]


@pytest.mark.parametrize("kind", KINDS)
def test_recipe_problems_when_all_is_well_then_there_are_none(kind: str, tmp_path: Path) -> None:
    folder = sound_base(tmp_path, kind)
    for method, changes in METHODS.items():
        chosen = recipe("audio-classification", train__method=method, **changes)
        assert TASK.recipe_problems(chosen, ModelFolders(folder)) == []


def test_recipe_problems_when_the_extractor_is_missing_then_says_so(tmp_path: Path) -> None:
    folder = sound_base(tmp_path)
    (folder / "preprocessor_config.json").unlink()
    problems = TASK.recipe_problems(recipe("audio-classification"), ModelFolders(folder))
    assert [one.key for one in problems] == ["base_model"]
    assert "has no feature extractor" in problems[0].message


@pytest.mark.parametrize("rate", [0, 10**9, "fast"])
def test_recipe_problems_when_the_extractor_has_an_absurd_rate_then_says_so(
    rate: Any, tmp_path: Path
) -> None:
    folder = sound_base(tmp_path)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sampling_rate": rate}))
    (problem,) = TASK.recipe_problems(recipe("audio-classification"), ModelFolders(folder))
    assert f"its sampling_rate is {rate!r}, which is none of a sound" in problem.message


def test_recipe_problems_when_extractor_and_model_disagree_then_says_so(tmp_path: Path) -> None:
    folder = sound_base(tmp_path, "ast")
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "max_length": 128}))
    (problem,) = TASK.recipe_problems(recipe("audio-classification"), ModelFolders(folder))
    assert "preprocessor_config.json makes sounds of 128 x 16" in problem.message


def test_trial_when_of_sounds_then_tells_what_is_heard(tmp_path: Path) -> None:
    chosen = recipe("audio-classification", train__arguments=ARGUMENTS)
    for kind, expected in (("ast", [64, 16]), ("wav2vec2", [4_000])):
        folder = sound_base(tmp_path / kind, kind)
        rows = [{**row, "audio": encoded(tone())} for row in sound_rows(24)]
        data = TASK.fit_data(splits(rows), chosen, ModelFolders(folder))
        trial = try_classifier(
            "AutoModelForAudioClassification", folder, chosen.train, data, num_labels=3
        )
        assert trial.inputs == {"heard": expected}


def test_problems_when_a_row_is_broken_then_says_how() -> None:
    good = sound_rows(1)[0]
    assert TASK.problems(good) == []
    assert TASK.problems({"audio": b"", "label": ""}) == ["audio is empty", "label is empty"]
    assert TASK.problems({"audio": b"hello", "label": "red"}) == ["no sound in a known format"]


def test_widgets_when_a_sound_is_given_then_it_becomes_a_row(tmp_path: Path) -> None:
    widgets = TASK.widgets([])
    name, options = widgets.inputs[0]
    assert (name, options["type"], options["sources"]) == (
        "Audio",
        "filepath",
        ["microphone", "upload"],
    )
    (tmp_path / "a.mp3").write_bytes(encoded(tone(1.0, rate=16_000), 16_000, "MP3"))
    row = widgets.to_row([str(tmp_path / "a.mp3")])
    assert TASK.problems({**row, "label": "red"}) == []
    assert row["audio"][:4] == b"RIFF"
    assert inspect(row["audio"]).rate == 16_000
    assert np.abs(open_sound(row["audio"])[0]).max() == pytest.approx(0.45, abs=0.1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello", "The model cannot take this: no sound in a known format."),
        (encoded(np.zeros(8_000, np.float32)), "The model cannot take this: silent sound."),
        (encoded(tone(61.0)), "The model cannot take this: sound longer than 60 seconds."),
    ],
)
def test_widgets_when_the_sound_is_of_no_use_then_says_why(
    content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / "bad.wav").write_bytes(content)
    with pytest.raises(DataError) as caught:
        TASK.widgets([]).to_row([str(tmp_path / "bad.wav")])
    assert (caught.value.what, caught.value.do) == (message, "choose another sound")


def test_widgets_when_there_is_no_sound_then_says_so() -> None:
    with pytest.raises(DataError, match="no sound"):
        TASK.widgets([]).to_row([None])


def test_example_from_rating_when_agreed_then_holds_sound_and_label() -> None:
    row = sound_rows(1)[0]
    assert rated_example(TASK, row, "blue") == {"audio": row["audio"], "label": "blue"}
    assert rated_example(TASK, {"audio": b"no"}, "blue") is None


def test_card_when_its_usage_is_run_then_it_predicts(
    fitted: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usage = TASK.card().usage.replace("{repo_id}", str(fitted)).replace("{commit_sha}", "main")
    (tmp_path / "sound.wav").write_bytes(encoded(tone(rate=16_000), 16_000))
    monkeypatch.chdir(tmp_path)
    exec(compile(usage, "usage.py", "exec"), {})
    assert capsys.readouterr().out.count("'score':") == 3


def test_fit_when_the_primary_is_of_one_label_then_the_checkpoint_is_chosen_by_it(
    tmp_path: Path, sound_base_dir: Path
) -> None:
    names = sorted({row["label"] for row in sound_rows(48)})
    report = fit(
        tmp_path,
        sound_base_dir,
        evaluate__metrics=["sensitivity", "accuracy"],
        evaluate__primary="sensitivity",
        evaluate__positive=names[0],
    )
    assert report.best_metric is not None
    assert 0 < report.best_metric <= 1
