import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import pipeline

from hub_trainer.errors import DataError
from hub_trainer.finetune.augment import AUGMENTATIONS
from hub_trainer.pictures import open_image
from hub_trainer.tasks import ModelFolders, load_task, rated_example
from hub_trainer.tasks.image_classification import TASK, Pictures
from tests.tasks.factory import (
    LABELS,
    encoded,
    image_base,
    image_rows,
    picture,
    recipe,
    splits,
)

ARGUMENTS = {
    "learning_rate": 1e-2,
    "num_train_epochs": 3,
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


def silent(share: float, doing: str) -> None:
    pass


def fit(out_dir: Path, base_dir: Path | None, method: str = "full", **changes: Any) -> Any:
    chosen = recipe(
        "image-classification",
        **{"train__method": method, "train__arguments": ARGUMENTS, **METHODS[method], **changes},
    )
    return TASK.fit(
        splits(image_rows(72)),
        chosen,
        out_dir,
        base=ModelFolders(base_dir) if base_dir else None,
        progress=silent,
    )


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory, image_base_dir: Path) -> Path:
    out_dir = tmp_path_factory.mktemp("fitted")
    fit(out_dir, image_base_dir, prepare__augment=["flip", "shift"])
    return out_dir / "model"


def test_load_task_when_asked_for_then_gives_this_one() -> None:
    assert load_task("image-classification") is TASK


@pytest.mark.parametrize("method", sorted(METHODS))
def test_fit_when_done_by_any_method_then_saves_a_plain_model(
    method: str, tmp_path: Path, image_base_dir: Path
) -> None:
    report = fit(tmp_path, image_base_dir, method)
    folder = tmp_path / "model"
    names = {path.name for path in folder.iterdir()}
    assert names == {"config.json", "model.safetensors", "preprocessor_config.json"}
    assert names == set(TASK.card().files)
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"] == {"0": "blue", "1": "green", "2": "red"}
    assert str(image_base_dir) not in (folder / "config.json").read_text()
    processor = json.loads((folder / "preprocessor_config.json").read_text())
    assert processor["image_processor_type"] == "ViTImageProcessor"
    assert report.tokens is None
    assert report.method == method
    base = load_file(image_base_dir / "model.safetensors")
    model = load_file(folder / "model.safetensors")
    changed = {n for n, v in base.items() if not v.equal(model[n]) and "classifier" not in n}
    if method == "head":
        assert changed == set()
    elif method == "last_n":
        assert changed
        assert not any("embedder" in name for name in changed)
    else:
        assert any("embedder" in name for name in changed)


def test_fit_when_there_is_no_base_then_builds_a_small_model_that_learns(tmp_path: Path) -> None:
    few = {**ARGUMENTS, "learning_rate": 2e-3, "num_train_epochs": 2}
    report = fit(tmp_path, None, "scratch", base_model=None, train__arguments=few)
    assert report.trainable_parameters < 1_000_000
    rows = image_rows(30, seed=9)
    found = TASK.predict(ModelFolders(tmp_path / "model"), rows)
    assert TASK.answer.scores([row["label"] for row in rows], found).sum() / 30 > 0.9


def test_predict_when_compared_with_pipeline_then_agrees(fitted: Path) -> None:
    rng = random.Random(3)
    pictures = [
        picture("red", rng=rng),
        picture("blue", rng=rng, size=(7, 31)).convert("L"),
        picture("green", rng=rng).convert("RGBA"),
        picture("green", rng=rng).convert("P"),
    ]
    turned = Image.new("RGB", (20, 12), (200, 0, 0))
    turned.paste((0, 0, 200), (0, 0, 10, 12))
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    turned.save(file, "JPEG", exif=exif)
    rows = [{"image": encoded(one)} for one in pictures] + [{"image": file.getvalue()}]
    classify = pipeline("image-classification", model=str(fitted))
    for row, mine in zip(rows, TASK.predict(ModelFolders(fitted), rows), strict=True):
        theirs = classify(Image.open(io.BytesIO(row["image"])))
        assert mine.value == theirs[0]["label"]
        assert dict(mine.scores) == pytest.approx(
            {one["label"]: one["score"] for one in theirs}, abs=1e-5
        )


def test_predict_when_there_are_no_rows_then_gives_none(fitted: Path) -> None:
    assert TASK.predict(ModelFolders(fitted), []) == []


def test_fit_when_augmented_and_seeds_are_equal_then_weights_are_equal(
    fitted: Path, tmp_path: Path, image_base_dir: Path
) -> None:
    fit(tmp_path, image_base_dir, prepare__augment=["flip", "shift"])
    again = (tmp_path / "model" / "model.safetensors").read_bytes()
    assert (fitted / "model.safetensors").read_bytes() == again


def test_pictures_when_augmented_then_differ_each_time_but_not_for_one_seed() -> None:
    rng = random.Random(0)
    noise = Image.frombytes("RGB", (16, 16), rng.randbytes(16 * 16 * 3))
    source = Pictures([{"image": encoded(noise)}], [0], [1.0], ["flip", "rotate", "color"])
    random.seed(5)
    first, second = (source[0]["picture"].tobytes() for _ in range(2))
    random.seed(5)
    assert source[0]["picture"].tobytes() == first
    assert first != second
    plain = Pictures(source.rows, [0], [1.0], [])
    assert plain[0]["picture"].tobytes() == noise.tobytes()


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_augmentation_when_applied_then_keeps_the_size_and_changes_pixels(name: str) -> None:
    rng = random.Random(1)
    noise = Image.frombytes("RGB", (17, 9), rng.randbytes(17 * 9 * 3))
    made = [AUGMENTATIONS[name](noise, random.Random(seed)) for seed in range(4)]
    assert {(one.size, one.mode) for one in made} == {((17, 9), "RGB")}
    assert any(one.tobytes() != noise.tobytes() for one in made)
    again = AUGMENTATIONS[name](noise, random.Random(2))
    assert again.tobytes() == made[2].tobytes()


def test_augmentation_when_the_picture_is_one_pixel_then_it_stays_one() -> None:
    dot = Image.new("RGB", (1, 1), (9, 8, 7))
    for augmentation in AUGMENTATIONS.values():
        assert augmentation(dot, random.Random(0)).size == (1, 1)


def test_predict_base_when_it_knows_other_labels_then_takes_the_nearest_mean(
    image_base_dir: Path,
) -> None:
    rows = image_rows(30, seed=9)
    base = TASK.predict_base(splits(image_rows(60)), rows, ModelFolders(image_base_dir))
    assert "nearest mean features" in base.description
    right = TASK.answer.scores([row["label"] for row in rows], base.predictions).sum()
    assert right / 30 > 0.6


def test_predict_base_when_there_is_none_then_says_the_commonest_label() -> None:
    rows = image_rows(31)
    base = TASK.predict_base(splits(rows), rows[:4], None)
    assert len({one.value for one in base.predictions}) == 1


def test_recipe_problems_when_many_keys_are_wrong_then_names_them_all() -> None:
    wrong = recipe(
        "image-classification",
        base_model=None,
        train__estimator="random_forest",
        prepare__max_length=12,
        prepare__augment=["flip", "mixup"],
    )
    problems = {one.key: one.message for one in TASK.recipe_problems(wrong, None)}
    assert set(problems) == {
        "base_model",
        "train.estimator",
        "prepare.max_length",
        "prepare.augment",
    }
    assert "it offers color, crop, flip, rotate, shift" in problems["prepare.augment"]


def test_recipe_problems_when_scratch_has_no_base_then_there_are_none() -> None:
    chosen = recipe("image-classification", base_model=None, train__method="scratch")
    assert TASK.recipe_problems(chosen, None) == []


def test_recipe_problems_when_all_is_well_then_there_are_none(image_base_dir: Path) -> None:
    for method, changes in METHODS.items():
        chosen = recipe("image-classification", train__method=method, **changes)
        assert TASK.recipe_problems(chosen, ModelFolders(image_base_dir)) == []


def test_recipe_problems_when_the_processor_is_missing_then_says_so(tmp_path: Path) -> None:
    folder = image_base(tmp_path)
    (folder / "preprocessor_config.json").unlink()
    problems = TASK.recipe_problems(recipe("image-classification"), ModelFolders(folder))
    assert [one.key for one in problems] == ["base_model"]
    assert "has no image processor" in problems[0].message


def test_problems_when_a_row_is_broken_then_says_how() -> None:
    good = image_rows(1)[0]
    assert TASK.problems(good) == []
    assert TASK.problems({"image": b"", "label": ""}) == ["image is empty", "label is empty"]
    assert TASK.problems({"image": good["image"][:60], "label": "red"}) == [
        "image that cannot be decoded"
    ]
    assert TASK.problems({"image": b"hello", "label": "red"}) == ["no image in a known format"]


def test_widgets_when_a_picture_is_given_then_it_becomes_a_row(tmp_path: Path) -> None:
    widgets = TASK.widgets([])
    assert widgets.inputs[0][0] == "Image"
    assert (widgets.inputs[0][1]["type"], widgets.inputs[0][1]["image_mode"]) == ("filepath", None)
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    row = widgets.to_row([str(tmp_path / "deep.png")])
    assert TASK.problems({**row, "label": "red"}) == []
    assert Image.open(io.BytesIO(row["image"])).mode == "RGB"
    assert open_image(row["image"]).getpixel((32, 31)) == (126, 126, 126)


def test_widgets_when_the_picture_cannot_be_decoded_then_says_why(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"hello")
    with pytest.raises(DataError, match="no image in a known format"):
        TASK.widgets([]).to_row([str(tmp_path / "bad.png")])


def test_widgets_when_there_is_no_picture_then_says_so() -> None:
    with pytest.raises(DataError, match="no picture"):
        TASK.widgets([]).to_row([None])


def test_example_from_rating_when_agreed_then_holds_image_and_label() -> None:
    row = image_rows(1)[0]
    example = rated_example(TASK, row, "blue")
    assert example == {"image": row["image"], "label": "blue"}
    assert rated_example(TASK, {"image": b"no"}, "blue") is None


def test_card_when_its_usage_is_run_then_it_predicts(
    fitted: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usage = TASK.card().usage.replace("{repo_id}", str(fitted)).replace("{commit_sha}", "main")
    picture("red", rng=random.Random(0)).save(tmp_path / "picture.png")
    monkeypatch.chdir(tmp_path)
    exec(compile(usage, "usage.py", "exec"), {})
    assert capsys.readouterr().out.count("'score':") == 3


def test_fit_when_labels_are_as_frequent_then_class_weights_change_nothing(
    tmp_path: Path, image_base_dir: Path
) -> None:
    few = {**ARGUMENTS, "num_train_epochs": 1}
    for weights in (False, True):
        out_dir = tmp_path / str(weights)
        fit(out_dir, image_base_dir, train__arguments=few, train__class_weights=weights)
    rows = splits(image_rows(72)).train
    counts = {label: sum(row["label"] == label for row in rows) for label in LABELS}
    assert len(set(counts.values())) == 1
    first, second = (
        load_file(tmp_path / name / "model" / "model.safetensors") for name in ("False", "True")
    )
    assert all(torch.equal(value, second[name]) for name, value in first.items())
