"""Perturbed rows: what changes, what stays, and that the seed alone decides."""

import io
from random import Random

import numpy as np
from PIL import Image

from hub_trainer.inputs import INPUTS, load_input
from hub_trainer.inputs.perturbed import blurred, telephoned, with_typos
from hub_trainer.sounds import open_sound
from tests.sounds import encoded, tone

TEXT = "Please tell me where my new card is, I have waited for it since last Monday evening."


def test_typos_when_made_then_one_long_word_in_ten_differs() -> None:
    for seed in range(50):
        found = with_typos(TEXT, Random(seed))
        pairs = list(zip(TEXT.split(), found.split(), strict=True))
        changed = [(one, other) for one, other in pairs if one != other]
        assert len(changed) <= 1  # of ten words of four letters or more; twins exchange to the same
        for one, other in changed:
            assert len(one) >= 4
            assert other[0] == one[0]
            assert abs(len(one) - len(other)) <= 1
    assert with_typos(TEXT, Random(3)) == with_typos(TEXT, Random(3))
    assert len({with_typos(TEXT, Random(seed)) for seed in range(20)}) > 10


def test_typos_when_a_text_has_no_long_word_then_it_stays() -> None:
    for text in ("no it is", "12345 67890", "", "你好吗"):
        assert with_typos(text, Random(0)) == text


def test_typos_when_texts_are_long_then_as_many_as_a_tenth_of_their_words() -> None:
    text = " ".join(["wordlike"] * 100)
    found = with_typos(text, Random(0)).split()
    assert sum(word != "wordlike" for word in found) == 10
    assert len(found) == 100


def test_picture_when_blurred_then_edges_are_softer_and_its_size_stays() -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, 30:] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    found = np.asarray(Image.open(io.BytesIO(blurred(buffer.getvalue()))))
    assert found.shape == pixels.shape
    assert np.abs(np.diff(found[20, :, 0].astype(int))).max() < 200
    assert abs(found.mean() - pixels.mean()) < 1


def test_sound_when_telephoned_then_lacks_what_is_high() -> None:
    high, low = (tone(1.0, pitch=pitch, rate=16_000) for pitch in (6_000, 500))
    loud = []
    for samples in (high, low):
        found, rate = open_sound(telephoned(encoded(samples, 16_000)))
        assert rate == 16_000
        assert abs(len(found) - 16_000) < 100
        loud.append(float(np.abs(found[2_000:-2_000]).max()) / float(np.abs(samples).max()))
    assert loud[0] < 0.05
    assert 0.9 < loud[1] < 1.1


def test_sound_when_it_is_of_a_telephone_already_then_it_stays() -> None:
    content = encoded(tone(0.5, pitch=500), 8_000)
    assert telephoned(content) == content


def test_inputs_when_asked_then_those_of_people_s_own_making_are_perturbed() -> None:
    found = {name: load_input(name).perturbation for name in INPUTS}
    assert {name for name, one in found.items() if one is not None} == {"text", "image", "audio"}
    pair = {"text": TEXT, "text_pair": TEXT, "label": "card"}
    typed = found["text"].of(pair, Random(0))  # type: ignore[union-attr]
    assert typed["text"] != TEXT
    assert typed["text_pair"] != TEXT
    assert typed["label"] == "card"
