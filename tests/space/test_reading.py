"""What a page says of itself and of how an input was read; a model that borrows its GPU."""

import sys
from collections.abc import Callable, Generator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from transformers import ASTFeatureExtractor, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

from hub_trainer.answers.label_names import named
from hub_trainer.errors import DataError
from hub_trainer.finetune.sound_batches import unheard
from hub_trainer.finetune.tokenizers import unread_of_text
from hub_trainer.space import zerogpu
from hub_trainer.space.ranges import ranges_of, unusual_values
from hub_trainer.space.reading_notes import Reading
from hub_trainer.space.shown_rows import ShownRows, encode_shown, read_shown
from hub_trainer.space.view import head, notice, terms
from hub_trainer.space.wording import short_description, space_title
from hub_trainer.tasks import TASKS, ModelFolders, Widgets, load_task
from tests.finetune.language.tiny import tokenizer
from tests.sounds import encoded, tone
from tests.space.factory import settings_of

ROWS = [
    {"kilograms": 1.0, "colour": "red", "safe": True, "note": "x" * 200, "label": "a", "_row": "1"},
    {"kilograms": None, "colour": "blue", "safe": False, "note": "y", "label": "b", "_row": "2"},
    {"kilograms": 20.0, "colour": None, "safe": True, "note": "z", "label": "a", "_row": "3"},
]


def test_ranges_when_of_training_rows_hold_numbers_and_words_and_no_label() -> None:
    assert ranges_of(ROWS) == {
        "kilograms": {"low": 1.0, "high": 20.0},
        "colour": {"values": ["blue", "red"]},
    }
    assert ranges_of([]) == {}


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"kilograms": 20.0, "colour": "red"}, []),
        ({"kilograms": None, "colour": None, "else": 3}, []),
        (
            {"kilograms": 9000, "colour": "red"},
            ["kilograms is 9,000: unusual, the training rows have 1 to 20."],
        ),
        (
            {"kilograms": -1.5, "colour": "<b>"},
            [
                "kilograms is -1.5: unusual, the training rows have 1 to 20.",
                "colour is <b>: no training row has that value.",
            ],
        ),
    ],
)
def test_values_when_outside_the_training_rows_are_unusual(row: Any, told: list[str]) -> None:
    assert unusual_values(row, ranges_of(ROWS)) == told


def test_notes_when_shown_are_text_and_an_unusable_input_has_none(tmp_path: Path) -> None:
    def to_row(values: Any) -> dict[str, Any]:
        if values[0] is None:
            raise DataError("Nothing there.")
        return {"kilograms": 3.0, "colour": values[0]}

    loaded = SimpleNamespace(
        widgets=Widgets([], to_row, unread=lambda folder, row: ["Only <half> was read."]),
        task=SimpleNamespace(modality="table"),
        folders=ModelFolders(tmp_path),
    )
    service: Any = SimpleNamespace(loaded=loaded)
    reading = Reading(service, ranges_of(ROWS))
    assert reading.notes("<img>") == (
        '<p class="note">colour is &lt;img&gt;: no training row has that value.</p>'
        '<p class="note">Only &lt;half&gt; was read.</p>'
    )
    assert reading.notes(None) == ""


def test_text_when_longer_than_the_model_takes_is_said_to_be_cut(tmp_path: Path) -> None:
    assert unread_of_text(tmp_path, "no tokenizer here") == []
    made = tokenizer()
    made.model_max_length = 4
    made.save_pretrained(tmp_path)
    count = len(made("one two three four five")["input_ids"])
    assert unread_of_text(tmp_path, "one two three four five") == [
        f"Only the first 4 of {count} tokens were read: the model takes no more."
    ]
    assert unread_of_text(tmp_path, "a") == []
    pair = {"text": "one two three", "text_pair": "four five"}
    count = len(made("one two three", "four five")["input_ids"])
    assert unread_of_text(tmp_path, pair) == [
        f"Only 4 of {count} tokens were read, the longer text not to its end: the model takes no "
        "more."
    ]
    assert unread_of_text(tmp_path, {"text": "a", "text_pair": "b"}) == []


@pytest.mark.parametrize(
    ("extractor", "seconds", "told"),
    [
        (WhisperFeatureExtractor(chunk_length=2), 12.34, "Only the first 2 of 12.3 seconds"),
        (
            ASTFeatureExtractor(max_length=100, num_mel_bins=32),
            1.5,
            "Only the first 1 of 1.5 seconds",
        ),
        (WhisperFeatureExtractor(chunk_length=2), 2.0, None),
        (Wav2Vec2FeatureExtractor(), 12.34, None),
    ],
)
def test_sound_when_longer_than_the_model_hears_is_said_to_be_cut(
    tmp_path: Path, extractor: Any, seconds: float, told: str | None
) -> None:
    extractor.save_pretrained(tmp_path)
    notes = unheard(tmp_path, {"audio": encoded(tone(seconds))})
    assert notes == ([f"{told} were heard: the model takes no more."] if told else [])


@pytest.mark.parametrize("name", sorted(TASKS))
def test_inputs_when_a_browser_shows_them_cut_nothing_by_themselves(name: str) -> None:
    """A box with a `max_length` drops what is pasted beyond it, and says nothing."""
    task = load_task(name)
    widgets = (
        None if task.converses else task.widgets([{"note": f"a b {n}", "x": 1} for n in range(60)])
    )
    boxes = [options for _, options in widgets.inputs] if widgets else []
    if hasattr(task.answer, "correction"):
        boxes.append(task.answer.correction(["a", "b"])[1])
    assert [options for options in boxes if "max_length" in options] == []


def test_shown_rows_when_written_and_read_are_the_same(tmp_path: Path) -> None:
    shown = ShownRows([{"image": b"\x89PNG", "text": "a"}], ranges_of(ROWS))
    for name, content in encode_shown(shown).items():
        (tmp_path / name).write_bytes(content)
    assert read_shown(tmp_path) == shown
    assert encode_shown(ShownRows()) == {}
    (tmp_path / "none").mkdir()
    assert read_shown(tmp_path / "none") == ShownRows([], {})


def test_page_when_named_by_the_recipe_shows_that_as_text() -> None:
    hostile = settings_of(title="<b>Spam?", description="For <i>you.", notice='Not "medical" <u>')
    assert space_title(hostile) == "<b>Spam?"
    top = head(hostile, "text", 'https://x/"onload=', "")
    assert "<h1>&lt;b&gt;Spam?</h1>" in top
    assert "For &lt;i&gt;you." in top
    assert '<p class="notice" role="note">Not &quot;medical&quot; &lt;u&gt;</p>' in top
    assert 'href="https://x/&quot;onload="' in top
    assert notice(settings_of()) == ""
    pair = {"text": "<i>premise", "text_pair": "hypothesis"}
    both = head(settings_of(columns=pair), "text", "https://x", "")
    assert "reads 2 texts, &lt;i&gt;premise and hypothesis, and chooses one of 3 labels" in both
    plain = head(settings_of(), "image", "https://x", "")
    assert "reads a picture and chooses one of 3 labels: few, many or &lt;b&gt;&amp;none." in plain


def test_terms_when_the_consent_changes_are_another_version() -> None:
    one, other = terms(settings_of(), "Consent <1>."), terms(settings_of(), "Consent 2.")
    assert "<p>Consent &lt;1&gt;.</p>" in one
    assert one.split('data-version="')[1][:12] != other.split('data-version="')[1][:12]


def test_labels_when_many_are_counted() -> None:
    assert named(["a"]) == "a"
    assert named(["a", "b"]) == "a or b"
    assert named([str(n) for n in range(77)]).endswith("10, 11 and 65 more")
    long = "A sentence that is longer than what the Hub shows under a thumbnail."
    assert short_description(settings_of(description=long)) == (
        "Try the model and say whether it is right"
    )
    assert short_description(settings_of(description="Short.")) == "Short."


class _Task:
    name = "text-generation"

    @property
    def converses(self) -> "_Task":
        return self

    def predict(self, rows: list[int]) -> list[int]:
        return [row + 1 for row in rows]

    def stream(self, text: str) -> Generator[str, None, bool]:
        yield from text.split()
        return text.endswith(".")


@pytest.fixture
def borrowed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """ZeroGPU with a package `spaces` that lends to what it wraps; the calls that borrowed."""
    calls: list[str] = []

    def gpu(task: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            calls.append(task.__name__)
            found = task(*arguments, **named)
            # As in the package: what a generator yields leaves its process, what it returns not.
            return found if not isinstance(found, Generator) else (piece for piece in found)

        return wrapped

    package, zero = ModuleType("spaces"), ModuleType("spaces.zero")
    package.GPU = gpu  # type: ignore[attr-defined]
    zero.startup = lambda: calls.append("startup")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "spaces", package)
    monkeypatch.setitem(sys.modules, "spaces.zero", zero)
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    return calls


def test_task_when_on_zerogpu_borrows_a_gpu_for_each_call(borrowed: list[str]) -> None:
    task = zerogpu.on_gpu(_Task())  # type: ignore[arg-type]
    assert task.name == "text-generation"
    assert task.predict([1, 2]) == [2, 3]
    pieces = task.converses.stream("one two.")
    assert [next(pieces), next(pieces)] == ["one", "two."]
    with pytest.raises(StopIteration) as end:
        next(pieces)
    assert end.value.value is True
    zerogpu.announce()
    assert borrowed == ["predict", "_told_pieces", "startup"]


def test_task_when_elsewhere_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    task = _Task()
    assert zerogpu.on_gpu(task) is task  # type: ignore[arg-type]
    zerogpu.announce()
