"""The evaluate modules: hand-made cases, scikit-learn, and the copies that evaluate keeps."""

import shutil
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics

import hub_trainer.metrics
from hub_trainer.errors import UsageError
from hub_trainer.metrics import METRICS, compute_metric, load_metric, metric_names, metric_spec

# label 0: 2 examples, 1 hit; label 1: 3 examples, 2 hits; label 2: 1 example, 1 hit
REFERENCES = [0, 0, 1, 1, 1, 2]
PREDICTIONS = [0, 1, 1, 1, 2, 2]
BY_HAND = {
    "accuracy": 4 / 6,
    "precision_macro": (1 / 1 + 2 / 3 + 1 / 2) / 3,
    "precision_micro": 4 / 6,
    "precision_weighted": (2 * 1 + 3 * 2 / 3 + 1 * 1 / 2) / 6,
    "recall_macro": (1 / 2 + 2 / 3 + 1 / 1) / 3,
    "recall_micro": 4 / 6,
    "recall_weighted": 4 / 6,
    "f1_macro": (2 / 3 + 2 / 3 + 2 / 3) / 3,
    "f1_micro": 4 / 6,
    "f1_weighted": 2 / 3,
    "balanced_accuracy": (1 / 2 + 2 / 3 + 1 / 1) / 3,
    "mcc": (4 * 6 - (2 * 1 + 3 * 3 + 1 * 2)) / ((36 - 14) * (36 - 14)) ** 0.5,
}
OF_LABELS = sorted(metric_names("labels"))


def test_every_metric_has_a_case_by_hand():
    assert set(BY_HAND) == set(OF_LABELS)
    assert set(METRICS) - set(BY_HAND) == metric_names("answers", "likelihoods", "preferences")


@pytest.mark.parametrize("name", OF_LABELS)
def test_metric_of_a_small_case_equals_the_one_by_hand(name):
    assert compute_metric(name, REFERENCES, PREDICTIONS) == pytest.approx(BY_HAND[name], rel=1e-12)


def test_metric_of_random_labels_equals_scikit_learn_exactly():
    rng = np.random.default_rng(0)
    references, predictions = rng.integers(0, 5, (2, 200)).tolist()
    for average in ("macro", "micro", "weighted"):
        expected = sklearn.metrics.precision_recall_fscore_support(
            references, predictions, average=average, zero_division=0.0
        )
        for name, value in zip(("precision", "recall", "f1"), expected[:3], strict=True):
            assert compute_metric(f"{name}_{average}", references, predictions) == value
    expected = sklearn.metrics.balanced_accuracy_score(references, predictions)
    assert compute_metric("balanced_accuracy", references, predictions) == pytest.approx(expected)


@pytest.mark.parametrize("name", OF_LABELS)
@pytest.mark.parametrize(
    ("references", "predictions"), [([0, 0, 1], [0, 2, 2]), ([1], [0]), ([3, 3], [3, 3])]
)
def test_metric_with_absent_labels_counts_them_as_zero_and_does_not_warn(
    name, references, predictions
):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value = compute_metric(name, references, predictions)
    assert -1 <= value <= 1
    if predictions == references and name != "mcc":
        assert value == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("precision", [1, 2 / 3, 1 / 2, 0]),
        ("recall", [1 / 2, 2 / 3, 1, 0]),
        ("f1", [2 / 3] * 3 + [0]),
    ],
)
def test_module_without_average_gives_one_value_per_label(name, expected):
    found = load_metric(f"{name}_macro").compute(
        references=REFERENCES, predictions=PREDICTIONS, average=None, labels=[0, 1, 2, 3]
    )
    assert found == {name: pytest.approx(expected)}


def test_confusion_counts_references_in_rows():
    found = load_metric("confusion").compute(
        references=REFERENCES, predictions=PREDICTIONS, labels=[0, 1, 2, 3]
    )
    assert found == {"confusion": [[1, 1, 0, 0], [0, 2, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]}


def test_confusion_of_a_single_label_does_not_warn():
    confusion = load_metric("confusion")
    assert confusion.compute(references=[2, 2], predictions=[2, 2]) == {"confusion": [[2]]}
    found = confusion.compute(references=[0, 1], predictions=[1, 1])
    assert found == {"confusion": [[0, 1], [0, 1]]}


def test_metric_of_unknown_name_suggests_the_nearest():
    with pytest.raises(UsageError, match=r"no metric f1_makro[\s\S]*did you mean f1_macro\?"):
        metric_spec("f1_makro")
    with pytest.raises(UsageError, match=r"no metric zzz[\s\S]*take one of accuracy, "):
        load_metric("zzz")


def test_modules_are_only_loaded_from_this_package(monkeypatch):
    import evaluate

    loaded = []
    load = evaluate.load
    monkeypatch.setattr(
        evaluate, "load", lambda path, **options: loaded.append(path) or load(path, **options)
    )
    for name in METRICS:
        load_metric(name)
    folder = Path(hub_trainer.metrics.__file__).parent
    assert {Path(path).parent for path in loaded} == {folder}
    assert all(Path(path, f"{Path(path).name}.py").is_file() for path in loaded)


def test_two_versions_of_a_module_do_not_meet(tmp_path):
    folder = tmp_path / "accuracy"
    shutil.copytree(Path(hub_trainer.metrics.__file__).parent / "accuracy", folder)
    source = folder / "accuracy.py"
    source.write_text(source.read_text().replace("float(", "1 - float("))
    other = hub_trainer.metrics._load_module(folder)
    arguments = {"references": [0, 1, 1, 1], "predictions": [0, 1, 1, 0]}
    assert other.compute(**arguments) == {"accuracy": 0.25}
    assert load_metric("accuracy").compute(**arguments) == {"accuracy": 0.75}


def test_module_cache_that_cannot_be_written_says_what_to_do(tmp_path, monkeypatch):
    import evaluate

    (tmp_path / "file").write_text("")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(evaluate.config, "HF_MODULES_CACHE", tmp_path / "file" / "modules")
    with pytest.raises(UsageError, match=r"cannot keep its copy[\s\S]*file/modules[\s\S]*HF_HOME"):
        load_metric("accuracy")


SCRIPT = textwrap.dedent(
    """
    import os, sys
    from hub_trainer.metrics import compute_metric
    for name in ("accuracy", "f1_macro", "mcc"):
        print(compute_metric(name, [0, 1, 1], [0, 1, 0]))
    """
)


def _run_elsewhere(home, script=SCRIPT):
    environment = {
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "1",
        "PATH": "/usr/bin:/bin",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(hub_trainer.metrics.__file__).parents[2]),
    }
    return subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True
    )


def test_half_a_copy_left_by_a_killed_process_is_replaced(tmp_path):
    import evaluate.loading

    source = Path(hub_trainer.metrics.__file__).parent / "accuracy" / "accuracy.py"
    name = evaluate.loading.files_to_hash([str(source)])
    copy = tmp_path / "modules" / "evaluate_modules" / "metrics" / "accuracy" / name / "accuracy.py"
    copy.parent.mkdir(parents=True)
    copy.write_text("")
    process = _run_elsewhere(tmp_path)
    lines = process.communicate(timeout=120)[0].split()
    assert process.returncode == 0
    assert float(lines[0]) == pytest.approx(2 / 3)
    assert copy.read_bytes() == source.read_bytes()


@pytest.mark.slow
def test_processes_that_start_together_on_an_empty_cache_agree(tmp_path):
    processes = [_run_elsewhere(tmp_path) for _ in range(4)]
    outputs = {process.communicate(timeout=280)[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert len(outputs) == 1
    assert not list((tmp_path / "metrics").rglob("*.arrow"))
