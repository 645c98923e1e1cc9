import pyarrow as pa
import pytest

from hub_trainer.errors import DataError
from hub_trainer.inputs.media import MEDIA
from hub_trainer.rows import RawSplit
from hub_trainer.rows.column_guesses import infer_spec


def _raw(columns: dict[str, pa.Array], media: str | None = None, **classes: tuple[str, ...]):  # type: ignore[no-untyped-def]
    return RawSplit(pa.table(columns), "default", classes, {media: MEDIA["image"]} if media else {})


TEXTS, NUMBERS = pa.array(["a", "b"]), pa.array([1.0, 2.0])


def test_columns_when_an_image_then_image_and_class_label() -> None:
    raw = _raw({"img": pa.array([b"1"]), "kind": pa.array([0])}, "img", kind=("x",))
    spec = infer_spec(raw)
    assert (spec.modality, dict(spec.columns)) == ("image", {"image": "img", "label": "kind"})


def test_columns_when_a_sound_then_its_transcript_or_its_label() -> None:
    columns = {"clip": pa.array([b"1", b"2"]), "sentence": TEXTS, "id": NUMBERS}
    raw = RawSplit(pa.table(columns), "default", {}, {"clip": MEDIA["audio"]})
    spec = infer_spec(raw)
    assert (spec.modality, dict(spec.kinds)) == ("audio", {"audio": "audio", "text": "transcript"})
    assert dict(spec.columns) == {"audio": "clip", "text": "sentence"}
    labelled = pa.table({**columns, "label": TEXTS})
    spec = infer_spec(RawSplit(labelled, "default", {}, {"clip": MEDIA["audio"]}))
    assert dict(spec.kinds) == {"audio": "audio", "label": "label"}


def test_columns_when_a_text_then_text_and_label() -> None:
    spec = infer_spec(_raw({"utterance": TEXTS, "intent": TEXTS, "id": NUMBERS}))
    assert (spec.modality, dict(spec.columns)) == ("text", {"text": "utterance", "label": "intent"})
    assert infer_spec(_raw({"body": TEXTS, "label": TEXTS})).columns == {"text": "body"}


def test_columns_when_a_table_then_every_plain_column_is_a_feature() -> None:
    nested = pa.array([[1], [2]])
    spec = infer_spec(_raw({"age": NUMBERS, "sex": TEXTS, "tags": nested, "label": TEXTS}))
    assert (spec.modality, list(spec.drop_columns)) == ("table", ["tags"])


def test_columns_when_none_can_be_the_label_then_error_lists_them() -> None:
    with pytest.raises(DataError) as caught:
        infer_spec(_raw({"a": TEXTS, "b": NUMBERS}))
    assert caught.value.what == "No column of the dataset can be told to be the label."
    assert caught.value.got == "columns a, b"
    assert "--recipe" in str(caught.value.do)


@pytest.mark.parametrize(
    "names",
    [
        ["prompt", "completion", "label"],
        ["chosen", "rejected"],
        ["instruction", "output", "category"],
        ["question", "answer"],
        ["text"],
    ],
)
def test_columns_when_of_language_data_then_rows_are_examples(names: list[str]) -> None:
    spec = infer_spec(_raw(dict.fromkeys(names, TEXTS)))
    assert (spec.modality, dict(spec.kinds)) == ("prompt", {"example": "completion"})


@pytest.mark.parametrize("names", [["question", "answer", "label"], ["text", "label", "id"]])
def test_columns_when_texts_have_a_label_then_that_is_learned(names: list[str]) -> None:
    spec = infer_spec(_raw(dict.fromkeys(names, TEXTS)))
    assert set(spec.kinds) == {"text", "label"}
