import io

import numpy as np
from PIL import Image

from hub_trainer.checks.probe import cross_scores, sample_rows


def _texts(count: int, seed: int) -> list[dict[str, str]]:
    rng = np.random.default_rng(seed)
    words = {"sun": ["bright", "warm", "summer"], "rain": ["wet", "cold", "umbrella"]}
    rows = []
    for _ in range(count):
        label = str(rng.choice(["sun", "rain"]))
        rows.append({"text": " ".join(rng.choice(words[label], 3)), "label": label})
    return rows


def test_probe_when_the_task_is_learnable_then_base_and_new_rows_score_alike() -> None:
    scored = cross_scores(_texts(100, 0), _texts(50, 1), "text")
    assert scored is not None
    held_out, new = scored.held_out, scored.new
    assert held_out.scores.shape == (100, 2)
    assert new.scores.shape == (50, 2)
    np.testing.assert_allclose(held_out.scores.sum(axis=1), 1)
    assert held_out.disagreement < 0.05
    assert new.disagreement < 0.05


def test_probe_when_a_label_is_new_or_rare_then_its_rows_are_left_out() -> None:
    base = [*_texts(60, 0), {"text": "odd", "label": "rare"}]
    new = [*_texts(10, 1), {"text": "odd", "label": "rare"}, {"text": "x", "label": "new"}]
    scored = cross_scores(base, new, "text")
    assert scored is not None
    assert len(scored.new.labels) == 10


def test_probe_when_there_is_too_little_to_learn_from_then_none() -> None:
    assert cross_scores(_texts(3, 0), _texts(10, 1), "text") is None
    assert cross_scores(_texts(60, 0), [], "text") is None
    assert cross_scores(_texts(60, 0), [{"text": "a", "label": "new"}], "text") is None


def test_probe_when_asked_of_images_and_tables_then_learns_too() -> None:
    rng = np.random.default_rng(0)

    def picture(grey: int) -> bytes:
        out = io.BytesIO()
        pixels = np.clip(rng.normal(grey, 10, (12, 12)), 0, 255).astype("uint8")
        Image.fromarray(pixels).save(out, "PNG")
        return out.getvalue()

    images = [{"image": picture(60 + 120 * (n % 2)), "label": "ab"[n % 2]} for n in range(60)]
    table = [
        {"size": float(n % 2) + rng.random(), "colour": ["red", None][n % 2], "label": "ab"[n % 2]}
        for n in range(60)
    ]
    for rows, modality in ((images, "image"), (table, "table")):
        scored = cross_scores(rows[:40], rows[40:], modality)  # type: ignore[arg-type]
        assert scored is not None
        assert scored.new.disagreement < 0.1


def test_probe_when_pictures_are_saved_with_loss_then_scores_them_alike() -> None:
    """Around what is drawn all pictures are black: noise there says nothing."""
    rng = np.random.default_rng(0)

    def picture(label: int, how: str) -> bytes:
        pixels = np.zeros((28, 28), "uint8")
        pixels[8 + 4 * label : 14 + 4 * label, 8:20] = rng.integers(150, 255, (6, 12))
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, how, quality=80)
        return out.getvalue()

    base = [{"image": picture(n % 2, "PNG"), "label": "ab"[n % 2]} for n in range(80)]
    new = [{"image": picture(n % 2, "JPEG"), "label": "ab"[n % 2]} for n in range(40)]
    scored = cross_scores(base, new, "image")
    assert scored is not None
    assert scored.new.disagreement == 0


def test_sample_when_taken_then_the_same_each_time_and_in_order() -> None:
    rows = [{"n": n} for n in range(100)]
    taken = sample_rows(rows, 10)
    assert taken == sample_rows(rows, 10)
    assert [row["n"] for row in taken] == sorted(row["n"] for row in taken)
    assert sample_rows(rows, 100) == rows
