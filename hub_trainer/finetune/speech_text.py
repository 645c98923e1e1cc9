"""Letters that a model of CTC writes: the base's own, or those of the transcripts.

Nobody hears a comma or a capital, so such a model learns letters, digits and apostrophes in one
case, with a sign between words. The filling token is the blank of CTC.
"""

import json
import tempfile
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, Wav2Vec2CTCTokenizer

from hub_trainer.answers.transcript import one_line
from hub_trainer.finetune.classifier import quiet_transformers

BLANK, UNKNOWN, BETWEEN_WORDS = "<pad>", "<unk>", "|"
APOSTROPHES = "'\N{RIGHT SINGLE QUOTATION MARK}"
VOCABULARY = "vocab.json"


def spoken(text: str) -> str:
    """What of a transcript can be heard, in lower case."""
    plain = unicodedata.normalize("NFKC", text).lower()
    signs = ("'" if sign in APOSTROPHES else sign for sign in plain)
    heard = "".join(s if s == "'" or unicodedata.category(s)[0] in "LMN" else " " for s in signs)
    return " ".join(word for word in heard.split() if word.strip("'"))


def new_tokenizer(texts: Iterable[str]) -> Any:
    """A tokenizer of the letters in these transcripts."""
    letters = sorted({letter for text in texts for letter in spoken(text)} - {" "})
    tokens = [BLANK, UNKNOWN, BETWEEN_WORDS, *letters]
    with tempfile.TemporaryDirectory(prefix="vocabulary-") as folder:
        path = Path(folder) / VOCABULARY
        path.write_text(json.dumps({token: i for i, token in enumerate(tokens)}), encoding="utf-8")
        return Wav2Vec2CTCTokenizer(
            str(path),
            bos_token=None,
            eos_token=None,
            unk_token=UNKNOWN,
            pad_token=BLANK,
            word_delimiter_token=BETWEEN_WORDS,
        )


def own_tokenizer(folder: Path) -> Any | None:
    """The base's tokenizer of letters; None where it has none, or one of another kind."""
    if not (folder / VOCABULARY).exists():
        return None
    with quiet_transformers():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        except (OSError, ValueError, TypeError, KeyError):
            return None
    is_of_letters = isinstance(tokenizer, Wav2Vec2CTCTokenizer)
    plain = is_of_letters and all(isinstance(index, int) for index in tokenizer.vocab.values())
    return tokenizer if plain and tokenizer.pad_token_id is not None else None


def can_spell(tokenizer: Any, texts: Iterable[str]) -> bool:
    """Whether it knows every letter of these transcripts."""
    known = set(tokenizer.get_vocab()) | {" "}
    return {letter for text in texts for letter in spelled(tokenizer, text)} <= known


def spelled(tokenizer: Any, text: str) -> str:
    """What can be heard of a transcript, in the case in which the tokenizer has its letters."""
    letters = [token for token in tokenizer.get_vocab() if len(token) == 1]
    is_upper = any(one.isupper() for one in letters) and not any(one.islower() for one in letters)
    return spoken(text).upper() if is_upper else spoken(text)


def letter_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """The numbers of the letters of each transcript."""
    known, unknown = tokenizer.get_vocab(), tokenizer.unk_token_id
    between = known.get(tokenizer.word_delimiter_token, unknown)
    return [
        [between if s == " " else known.get(s, unknown) for s in spelled(tokenizer, text)]
        for text in texts
    ]


def read_letters(tokenizer: Any, ids: Sequence[int], *, per_frame: bool = True) -> str:
    """The transcript of numbers; of frames, what follows on itself counts once."""
    return one_line(tokenizer.decode(list(ids), group_tokens=per_frame) if len(ids) else "")
