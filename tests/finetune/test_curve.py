from pathlib import Path

from PIL import Image

from hub_trainer.finetune.curve import plot_curve


def test_plot_curve_when_steps_were_logged_then_draws_both_losses_and_the_metric(
    tmp_path: Path,
) -> None:
    history = [
        {"step": 1, "loss": 2.0},
        {"step": 2, "loss": 1.0},
        {"step": 2, "eval_loss": 1.5, "eval_f1_macro": 0.5},
    ]
    plot_curve(history, tmp_path / "a.png", metric="f1_macro")
    plot_curve(history, tmp_path / "b.png", metric="accuracy")
    plot_curve(history[:2], tmp_path / "c.png", metric="f1_macro")
    drawn = {(tmp_path / name).read_bytes() for name in ("a.png", "b.png", "c.png")}
    assert len(drawn) == 3
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (630, 324)


def test_plot_curve_when_there_were_no_steps_then_draws_nothing(tmp_path: Path) -> None:
    plot_curve([], tmp_path / "a.png", metric="accuracy")
    assert list(tmp_path.iterdir()) == []
