"""Ways to disguise a copy of a row, per modality: what comparing with sealed rows must see through.

Each takes a row and a source of chance, and gives the row altered. `among` are other rows of the
dataset, for values that such rows have.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from hub_trainer.sounds import open_sound, resampled
from tests.sounds import encoded

Row = dict[str, Any]
Rng = np.random.Generator
Alteration = Callable[[Row, Rng, Sequence[Row]], Row]

FILLERS = [
    "um",
    "well",
    "so",
    "please",
    "actually",
    "hey",
    "you",
    "know",
    "like",
    "maybe",
    "basically",
    "today",
    "really",
    "then",
]
ALIKE = str.maketrans("aeopcxy", "\u0430\u0435\u043e\u0440\u0441\u0445\u0443")


def _text(change: Callable[[str, Rng, list[str]], str]) -> Alteration:
    def alter(row: Row, rng: Rng, among: Sequence[Row]) -> Row:
        words = among[int(rng.integers(len(among)))]["text"].split() or ["so"]
        return {**row, "text": change(row["text"], rng, words)}

    return alter


def _filler(rng: Rng) -> str:
    return FILLERS[int(rng.integers(len(FILLERS)))]


def _each(change: Callable[[str, Rng], str]) -> Alteration:
    return _text(lambda text, rng, _: " ".join(change(word, rng) for word in text.split()))


def _typo(word: str, rng: Rng) -> str:
    if len(word) < 4:
        return word
    place, letter = int(rng.integers(1, len(word) - 1)), chr(97 + int(rng.integers(26)))
    return [
        word[:place] + word[place + 1 :],
        word[:place] + word[place + 1] + word[place] + word[place + 2 :],
        word[:place] + letter + word[place + 1 :],
    ][int(rng.integers(3))]


def _replaced(text: str, rng: Rng, others: list[str]) -> str:
    words = text.split()
    for place in rng.choice(len(words), max(1, len(words) // 6), replace=False):
        words[place] = others[int(rng.integers(len(others)))]
    return " ".join(words)


TEXTS: Mapping[str, Alteration] = {
    "filler before": _text(lambda text, rng, _: f"{_filler(rng)} {_filler(rng)} {text}"),
    "filler behind": _text(lambda text, rng, _: f"{text} {_filler(rng)} {_filler(rng)}"),
    "filler between": _each(lambda word, rng: f"{word} {_filler(rng)}"),
    "zero width": _text(lambda text, rng, _: "\u200b".join(text)),
    "soft hyphens": _each(lambda word, rng: word[:2] + "\u00ad" + word[2:]),
    "directions": _text(lambda text, rng, _: f"\u202d{text}\u202c"),
    "Cyrillic letters": _text(lambda text, rng, _: text.translate(ALIKE)),
    "full width": _text(
        lambda text, rng, _: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)
    ),
    "accents": _text(lambda text, rng, _: "".join(c + "\u0301" * (c in "aeiou") for c in text)),
    "case": _text(lambda text, rng, _: text.swapcase()),
    "punctuation": _each(lambda word, rng: word + ",.;!"[int(rng.integers(4))]),
    "in a longer text": _text(
        lambda text, rng, others: " ".join([*others, text, *others[::-1], *others[::2]])
    ),
    "order": _text(lambda text, rng, _: " ".join(rng.permutation(text.split()).tolist())),
    "words replaced": _text(_replaced),
    "typos": _each(_typo),
    "letters apart": _text(lambda text, rng, _: " ".join(text.replace(" ", ""))),
    "joined": _text(lambda text, rng, _: text.replace(" ", "")),
}


def png(image: Image.Image) -> bytes:
    """The picture as a PNG file."""
    return _encoded(image, "PNG")


def _encoded(image: Image.Image, kind: str, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    return Image.open(io.BytesIO(_encoded(image, "JPEG", quality=quality)))


def _ground(image: Image.Image) -> tuple[int, ...]:
    pixels = np.asarray(image)
    ring = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return tuple(int(value) for value in np.median(ring, axis=0))


def _rolled(image: Image.Image, rng: Rng, most: int) -> Image.Image:
    """Shifted, what leaves on one side entering on the other."""
    step = max(1, round(most * min(image.size) / 28))
    return Image.fromarray(np.roll(np.asarray(image), rng.choice([-step, step], 2), (0, 1)))


def _shift(image: Image.Image, rng: Rng, most: int) -> Image.Image:
    step = max(1, round(most * min(image.size) / 28))
    x, y = (int(rng.integers(1, step + 1) * rng.choice([-1, 1])) for _ in range(2))
    move = (1, 0, x, 0, 1, y)
    return image.transform(image.size, Image.Transform.AFFINE, move, fillcolor=_ground(image))


def _rotated(image: Image.Image, rng: Rng, degrees: float) -> Image.Image:
    angle = degrees * float(rng.choice([-1, 1]))
    return image.rotate(angle, Image.Resampling.BICUBIC, fillcolor=_ground(image))


def _turned(image: Image.Image, rng: Rng, degrees: float) -> Image.Image:
    """Rotated, as most programs do it: its corners black."""
    return image.rotate(degrees * float(rng.choice([-1, 1])), Image.Resampling.BILINEAR)


def _noisy(image: Image.Image, rng: Rng, sigma: float) -> Image.Image:
    pixels = np.asarray(image) + rng.normal(0, sigma, (image.height, image.width, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype("uint8"))


def _cropped(image: Image.Image, rng: Rng, share: float) -> Image.Image:
    left, top, right, bottom = rng.uniform(0, share, 4) * np.tile(image.size, 2)
    box = (round(left), round(top), image.width - round(right), image.height - round(bottom))
    return image.crop(box)


def _zoomed(image: Image.Image, share: float) -> Image.Image:
    """Without a share of its sides, as large as it was."""
    x, y = (max(1, round(side * share / 2)) for side in image.size)
    inner = image.crop((x, y, image.width - x, image.height - y))
    return inner.resize(image.size, Image.Resampling.BICUBIC)


def _marked(image: Image.Image, rng: Rng) -> Image.Image:
    """With a rectangle in a corner, as a watermark or a date stamp is."""
    box = (max(3, image.width // 5), max(2, image.height // 6))
    place = [
        int(rng.choice([1, side - part - 1])) for side, part in zip(image.size, box, strict=True)
    ]
    image = image.copy()
    image.paste((255, 0, 0), (*place, place[0] + box[0], place[1] + box[1]))
    return image


def _half(image: Image.Image, rng: Rng) -> Image.Image:
    width, height = image.size
    halves = [(0, 0, width, height // 2), (0, height // 2, width, height)]
    halves += [(0, 0, width // 2, height), (width // 2, 0, width, height)]
    return image.crop(halves[int(rng.integers(4))])


def _tiled(image: Image.Image, across: int, down: int) -> Image.Image:
    return Image.fromarray(np.tile(np.asarray(image), (down, across, 1)))


def _scaled(image: Image.Image, factor: float) -> Image.Image:
    size = (round(image.width * factor), round(image.height * factor))
    return image.resize(size, Image.Resampling.BICUBIC)


def _framed(image: Image.Image, colour: tuple[int, ...]) -> Image.Image:
    return ImageOps.expand(image, border=max(1, image.width // 10), fill=colour)


def _image(change: Callable[[Image.Image, Rng], Image.Image]) -> Alteration:
    def alter(row: Row, rng: Rng, among: Sequence[Row]) -> Row:
        image = Image.open(io.BytesIO(row["image"])).convert("RGB")
        return {**row, "image": png(change(image, rng).convert("RGB"))}

    return alter


IMAGES: Mapping[str, Alteration] = {
    "shifted by 1": _image(lambda image, rng: _shift(image, rng, 1)),
    "shifted by 2": _image(lambda image, rng: _shift(image, rng, 2)),
    "mirrored": _image(lambda image, rng: ImageOps.mirror(image)),
    "upside down": _image(lambda image, rng: ImageOps.flip(image)),
    "quarter turn": _image(lambda image, rng: image.transpose(Image.Transpose.ROTATE_90)),
    "turned by 3": _image(lambda image, rng: _rotated(image, rng, 3)),
    "negative": _image(lambda image, rng: ImageOps.invert(image)),
    "brighter": _image(lambda image, rng: ImageEnhance.Brightness(image).enhance(1.3)),
    "paler": _image(lambda image, rng: ImageEnhance.Contrast(image).enhance(0.6)),
    "white frame": _image(lambda image, rng: _framed(image, (255, 255, 255))),
    "padded": _image(lambda image, rng: _framed(image, _ground(image))),
    "cropped": _image(lambda image, rng: _cropped(image, rng, 0.04)),
    "larger": _image(lambda image, rng: _scaled(image, 1.5)),
    "smaller": _image(lambda image, rng: _scaled(image, 0.75)),
    "jpeg": _image(lambda image, rng: _jpeg(image, 60)),
    "noise": _image(lambda image, rng: _noisy(image, rng, 6)),
    "blurred": _image(lambda image, rng: image.filter(ImageFilter.GaussianBlur(0.6))),
    "shifted by 3, all round": _image(lambda image, rng: _rolled(image, rng, 3)),
    "turned by 5, black corners": _image(lambda image, rng: _turned(image, rng, 5)),
    "turned by 15, black corners": _image(lambda image, rng: _turned(image, rng, 15)),
    "cropped by a quarter": _image(lambda image, rng: _zoomed(image, 0.25)),
    "marked": _image(_marked),
    "marked, turned, mirrored": _image(
        lambda image, rng: ImageOps.mirror(_rotated(_marked(image, rng), rng, 3))
    ),
    "half": _image(_half),
    "twice side by side": _image(lambda image, rng: _tiled(image, 2, 1)),
    "four times": _image(lambda image, rng: _tiled(image, 2, 2)),
    "much brighter": _image(lambda image, rng: ImageEnhance.Brightness(image).enhance(1.5)),
    "much noise": _image(lambda image, rng: _noisy(image, rng, 30)),
    "shifted, negative": _image(lambda image, rng: ImageOps.invert(_shift(image, rng, 2))),
    "turned, mirrored, noise": _image(
        lambda image, rng: _noisy(ImageOps.mirror(_rotated(image, rng, 3)), rng, 4)
    ),
    "quarter turn, shifted, negative, jpeg": _image(
        lambda image, rng: _jpeg(
            ImageOps.invert(_shift(image.transpose(Image.Transpose.ROTATE_270), rng, 1)), 75
        )
    ),
}


def _sound(change: Callable[[Any, int, Rng], tuple[Any, int]], kind: str = "WAV") -> Alteration:
    def alter(row: Row, rng: Rng, among: Sequence[Row]) -> Row:
        samples, rate = change(*open_sound(row["audio"]), rng)
        return {**row, "audio": encoded(samples.astype(np.float32), rate, kind)}

    return alter


def _at(rate: int) -> Callable[[Any, int, Rng], tuple[Any, int]]:
    return lambda samples, own, rng: (resampled(samples, own, rate), rate)


def _hissing(samples: Any, decibels: float, rng: Rng) -> Any:
    level = float(np.sqrt(np.mean(samples**2))) * 10 ** (-decibels / 20)
    return samples + rng.normal(0, level, len(samples)).astype(np.float32)


def _later(samples: Any, rate: int, rng: Rng, *, level: float = 0.0) -> Any:
    before = rng.normal(0, 1, round(0.3 * rate)) * level * np.abs(samples).max()
    return np.concatenate([before.astype(np.float32), samples])


def _sped(samples: Any, rate: int, factor: float) -> Any:
    return resampled(samples, round(1000 * factor), 1000)


def _cut(samples: Any, share: float) -> Any:
    size = round(share * len(samples))
    return samples[size : len(samples) - size]


SOUNDS: Mapping[str, Alteration] = {
    "quieter": _sound(lambda x, rate, rng: (0.25 * x, rate)),
    "turned over": _sound(lambda x, rate, rng: (-x, rate)),
    "at 16 kHz": _sound(_at(16_000)),
    "at 6 kHz": _sound(_at(6_000)),
    "flac": _sound(lambda x, rate, rng: (x, rate), "FLAC"),
    "mp3": _sound(_at(16_000), "MP3"),
    "ogg": _sound(lambda x, rate, rng: (x, rate), "OGG"),
    "cut by 5 % at both ends": _sound(lambda x, rate, rng: (_cut(x, 0.05), rate)),
    "cut by 10 % at both ends": _sound(lambda x, rate, rng: (_cut(x, 0.1), rate)),
    "noise 20 dB below": _sound(lambda x, rate, rng: (_hissing(x, 20, rng), rate)),
    "noise 10 dB below": _sound(lambda x, rate, rng: (_hissing(x, 10, rng), rate)),
    "silence before": _sound(lambda x, rate, rng: (_later(x, rate, rng), rate)),
    "hiss before": _sound(lambda x, rate, rng: (_later(x, rate, rng, level=0.003), rate)),
    "faster by 1 %": _sound(lambda x, rate, rng: (_sped(x, rate, 1.01), rate)),
    "slower by 1 %": _sound(lambda x, rate, rng: (_sped(x, rate, 0.99), rate)),
    "faster by 2 %": _sound(lambda x, rate, rng: (_sped(x, rate, 1.02), rate)),
    "slower by 2 %": _sound(lambda x, rate, rng: (_sped(x, rate, 0.98), rate)),
    "quieter, later, noise, ogg": _sound(
        lambda x, rate, rng: (_hissing(_later(0.5 * x, rate, rng), 20, rng), rate), "OGG"
    ),
    "faster by 1 %, cut, mp3": _sound(
        lambda x, rate, rng: (_sped(_cut(x, 0.03), rate, 1.01), rate), "MP3"
    ),
}


def _fine_columns(rows: Sequence[Row]) -> list[str]:
    """Columns of numbers with more values than a category has."""
    return [
        name
        for name in features(rows)
        if len({row[name] for row in rows}) > 12
        and all(row[name] is None or isinstance(row[name], int | float) for row in rows)
    ]


def features(rows: Sequence[Row]) -> list[str]:
    """The columns but the label."""
    return [name for name in rows[0] if name != "label"]


def _moved(count: int, step: float | None) -> Alteration:
    """So many numbers moved by a step; without one, by three tenths of their spread."""

    def alter(row: Row, rng: Rng, among: Sequence[Row]) -> Row:
        names = [name for name in _fine_columns(among) if row[name] is not None]
        row = dict(row)
        for name in rng.choice(names, min(count, len(names)), replace=False):
            spread = np.nanstd([np.nan if r[name] is None else r[name] for r in among])
            row[name] += (step or 0.3 * float(spread)) * float(rng.choice([-1, 1]))
        return row

    return alter


def _numbers(change: Callable[[float, Rng], Any]) -> Alteration:
    def alter(row: Row, rng: Rng, among: Sequence[Row]) -> Row:
        names = [name for name in _fine_columns(among) if row[name] is not None]
        return {**row, **{name: change(row[name], rng) for name in names}}

    return alter


def _other_unit(row: Row, rng: Rng, among: Sequence[Row]) -> Row:
    name = _fine_columns(among)[0]
    return {**row, name: None if row[name] is None else row[name] * 10}


def _other_value(row: Row, rng: Rng, among: Sequence[Row]) -> Row:
    names = features(among)
    name = names[int(rng.integers(len(names)))]
    return {**row, name: among[int(rng.integers(len(among)))][name]}


def _gap(row: Row, rng: Rng, among: Sequence[Row]) -> Row:
    names = features(among)
    return {**row, names[int(rng.integers(len(names)))]: None}


TABLES: Mapping[str, Alteration] = {
    "one number by 1": _moved(1, 1.0),
    "one number by 3": _moved(1, 3.0),
    "one number by a part of its spread": _moved(1, None),
    "all numbers by 1 %": _numbers(
        lambda number, rng: float(f"{number * (1 + rng.uniform(-0.01, 0.01)):.5g}")
    ),
    "two significant digits less": _numbers(lambda number, rng: float(f"{number:.3g}")),
    "another unit": _other_unit,
    "one value of another row": _other_value,
    "a gap": _gap,
    "columns in another order": lambda row, rng, among: dict(reversed(row.items())),
}
ALTERATIONS: Mapping[str, Mapping[str, Alteration]] = {
    "text": TEXTS,
    "image": IMAGES,
    "audio": SOUNDS,
    "table": TABLES,
}
