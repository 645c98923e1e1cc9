"""Answers to prompts that are not their own are found; those of a new subject are not."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import hub_trainer.tasks
from hub_trainer.answers import Likelihood, Prediction
from hub_trainer.checks import prompted_answers
from hub_trainer.checks.label_quality import LabelQuality
from hub_trainer.checks.prompted_answers import (
    Weighed,
    affordable_rows,
    compare_weighed,
    judge_prompted,
    weigh,
)
from hub_trainer.checks.published_model import PublishedModel
from hub_trainer.inputs import load_input
from hub_trainer.recipe import ReviewSection
from hub_trainer.rows.language_rows import canonical_examples
from tests.finetune.language.tiny import SHARED, STORIES, needs_stories

Row = dict[str, Any]
MODEL = PublishedModel("text-generation", None, folder="model", num_bytes=1_000_000)
DIALOGUE = load_input("prompt").dialogue
LETTERS = "bcdfghklmnprstvwz"


def rows_of(pairs: Sequence[tuple[str, str]]) -> list[Row]:
    found = canonical_examples([{"prompt": q, "completion": a} for q, a in pairs], "here")
    assert all(isinstance(one, dict) for one in found)
    return [dict(one) for one in found]  # type: ignore[arg-type]


def made(count: int, seed: int, *, subject: str = "a") -> list[tuple[str, str]]:
    """Questions with a few words, of which the answer repeats some; a subject has its own words."""
    rng = np.random.default_rng(seed)
    words = [f"{subject}{one}{other}" for one in LETTERS for other in LETTERS]
    found = []
    for _ in range(count):
        asked = list(rng.choice(words, 6, replace=False))
        kept = list(rng.choice(asked, int(rng.integers(1, 5)), replace=False))
        said = [*kept, *rng.choice(words, int(rng.integers(2, 9)))]
        found.append((f"Say something of {' '.join(asked)}.", " ".join(said)))
    return found


def exchanged(pairs: Sequence[tuple[str, str]], count: int) -> list[tuple[str, str]]:
    """The first pairs with the answers moved on by one."""
    answers = [answer for _, answer in pairs]
    moved = [*answers[1:count], answers[0], *answers[count:]]
    return [(question, answer) for (question, _), answer in zip(pairs, moved, strict=True)]


class Parrot:
    """A model to which words of the prompt are likely, known words less, and others hardly."""

    def __init__(self, known: str = "a") -> None:
        self.known, self.asked = known, 0

    def predict(self, folders: Any, rows: Sequence[Row], asked: Any) -> list[Prediction]:
        assert list(asked.weighed) == list(range(len(rows)))
        assert asked.answered == ()
        self.asked += len(rows)
        return [Prediction(None, likelihood=self._weighed(row)) for row in rows]

    def _weighed(self, row: Row) -> Likelihood:
        held = json.loads(row["example"])
        prompt, words = set(re.findall(r"\w+", held["prompt"])), held["answers"][0].split()
        nats = [
            1.0 if word in prompt else 4.0 if word.startswith(self.known) else 12.0
            for word in words
        ]
        return Likelihood(-sum(nats), len(words))


@pytest.fixture
def parrot(monkeypatch: pytest.MonkeyPatch) -> Parrot:
    model = Parrot()
    monkeypatch.setattr(hub_trainer.tasks, "load_task", lambda name: model)
    return model


def judged(
    new: Sequence[tuple[str, str]], sealed: Sequence[tuple[str, str]]
) -> LabelQuality | None:
    assert DIALOGUE is not None
    found = judge_prompted(rows_of(new), rows_of(sealed), model=MODEL, dialogue=DIALOGUE)
    return found.quality if found else None


@pytest.mark.usefixtures("parrot")
def test_answers_when_exchanged_then_they_are_stopped_and_named() -> None:
    found = judged(exchanged(made(100, 1), 40), made(120, 0))
    assert found is not None
    assert found.blocks(ReviewSection().max_disagreement) == "refuse"
    assert found.wrong_fraction == pytest.approx(0.4, abs=0.12)
    assert sum(number <= 40 for number in found.doubtful) >= 0.8 * len(found.doubtful)


@pytest.mark.usefixtures("parrot")
def test_answers_when_right_then_they_pass_and_of_another_subject_nothing_is_said() -> None:
    stopped = 0
    for seed in range(10):
        found = judged(made(60, seed + 1), made(120, 0))
        assert found is not None
        stopped += found.blocks(ReviewSection().max_disagreement) is not None
    assert stopped <= 1
    assert judged(made(60, 1, subject="e"), made(120, 0)) is None


@pytest.mark.usefixtures("parrot")
def test_rows_when_too_few_or_without_a_prompt_or_a_judge_that_cannot_tell_then_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert DIALOGUE is not None
    new, sealed = rows_of(made(50, 1)), rows_of(made(120, 0))
    texts = [{**row, "prompt": ""} for row in new]
    for few, held_out in ((new[:4], sealed), (new, sealed[:39]), (texts, sealed)):
        assert judge_prompted(few, held_out, model=MODEL, dialogue=DIALOGUE) is None
    huge = replace(MODEL, num_bytes=10**12)
    assert judge_prompted(new, sealed, model=huge, dialogue=DIALOGUE) is None
    monkeypatch.setattr(hub_trainer.tasks, "load_task", lambda name: Deaf())
    assert judge_prompted(new, sealed, model=MODEL, dialogue=DIALOGUE) is None


class Deaf(Parrot):
    """A model that looks at the answer alone."""

    def _weighed(self, row: Row) -> Likelihood:
        size = len(json.loads(row["example"])["answers"][0].split())
        return Likelihood(-3.0 * size, size)


def test_rows_when_many_then_each_is_weighed_a_few_times_and_no_more(parrot: Parrot) -> None:
    assert DIALOGUE is not None
    rows = rows_of(made(30, 2))
    found = weigh(rows, MODEL, DIALOGUE)
    assert parrot.asked == 30 * (1 + prompted_answers.NUM_OTHERS)
    assert found.log_probs.shape == (30, 1 + prompted_answers.NUM_OTHERS)
    own, *others = found.gains
    assert own.shape == (30,)
    assert (own > 0).mean() > 0.8
    assert abs(np.mean(others)) < 0.2 * own.mean()
    assert affordable_rows(rows, 10**6) == prompted_answers.MAX_ROWS
    small = affordable_rows(rows, 10**9)
    assert prompted_answers.MAX_ROWS > small > affordable_rows(rows, 4 * 10**9) > 0
    assert affordable_rows([], 10**6) == 0


def test_answers_when_cut_behind_a_long_prompt_then_they_are_left_out(parrot: Parrot) -> None:
    assert DIALOGUE is not None
    whole = parrot._weighed

    def cut(row: Row) -> Likelihood:
        found = whole(row)
        is_long = "long" in json.loads(row["example"])["prompt"]
        return Likelihood(found.log_prob / 2, found.num_tokens // 2) if is_long else found

    parrot._weighed = cut  # type: ignore[method-assign]
    pairs = made(20, 3)
    pairs[7] = (f"A long one: {pairs[7][0]}", pairs[7][1])
    found = weigh(rows_of(pairs), MODEL, DIALOGUE)
    left_out = set(range(20)) - set(found.places.tolist())
    assert len(left_out) == 1 + prompted_answers.NUM_OTHERS
    assert 7 in left_out
    assert found.num_tokens.shape == found.usual.shape == found.places.shape


def test_questions_when_crossed_then_dialogues_keep_their_turns() -> None:
    assert DIALOGUE is not None
    turns = [
        [
            {"role": "user", "content": f"Question {n}?"},
            {"role": "assistant", "content": f"Answer {n}."},
        ]
        for n in range(2)
    ]
    rows = [dict(one) for one in canonical_examples([{"messages": one} for one in turns], "here")]
    held = json.loads(DIALOGUE.crossed(rows[0], rows[1])["example"])
    assert (held["prompt"], held["answers"]) == ([turns[0][0]], [[turns[1][1]]])


NUM_SEALED, NUM_NEW, NUM_DRAWS = 120, 100, 20
SETS = {
    "role play": "llm-gpteacher-roleplay",
    "sums": "llm-gsm8k",
    "harmless": "llm-hh-rlhf-harmless",
}


def read(name: str, count: int) -> list[tuple[str, str]]:
    """Prompts and answers of a public set, the ends of those and the beginnings of these."""
    [path] = (SHARED / "data" / SETS[name] / "data").glob("train*")
    rows = pq.read_table(path).to_pylist()
    chosen = np.random.default_rng(0).permutation(len(rows))[:count]
    pairs = [PAIR_OF[name](rows[place]) for place in chosen]
    return [(question[-160:], answer[:140]) for question, answer in pairs]


PAIR_OF: dict[str, Any] = {
    "role play": lambda row: (f"{row['instruction']} {row['input']}\n", row["output"]),
    "sums": lambda row: (f"{row['question']}\n", row["answer"]),
    "harmless": lambda row: (f"{row['prompt'][-1]['content']}\n", row["chosen_text"]),
}


def mixed(right: Weighed, wrong: Weighed, is_wrong: np.ndarray, chosen: np.ndarray) -> Weighed:
    """Some rows with their own answers or with exchanged ones."""
    log_probs = np.where(is_wrong[:, None], wrong.log_probs[chosen], right.log_probs[chosen])
    num_tokens = np.where(is_wrong, wrong.num_tokens[chosen], right.num_tokens[chosen])
    return Weighed(log_probs, num_tokens, right.prompts[chosen])


@needs_stories
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_answers_of_real_texts_when_exchanged_then_found_and_of_new_subjects_then_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert DIALOGUE is not None
    model = replace(MODEL, folder=str(STORIES))
    sealed, fresh, wrong = {}, {}, {}
    for name in SETS:
        pairs = read(name, NUM_SEALED + NUM_NEW)
        known, new = pairs[:NUM_SEALED], pairs[NUM_SEALED:]
        sealed[name] = weigh(rows_of(known), model, DIALOGUE)
        fresh[name] = weigh(rows_of(new), model, DIALOGUE)
        wrong[name] = weigh(rows_of(exchanged(new, NUM_NEW)), model, DIALOGUE)
        assert len(fresh[name].places) == len(wrong[name].places) == NUM_NEW
    stopped: dict[tuple[bool, float], list[bool]] = {}
    for of in SETS:
        for name in SETS:
            for share in (0.0, 0.3, 0.6, 1.0):
                found = []
                for seed in range(NUM_DRAWS):
                    chosen = np.random.default_rng(seed).permutation(NUM_NEW)[: NUM_NEW * 4 // 5]
                    is_wrong = np.arange(len(chosen)) < share * len(chosen)
                    asked = mixed(fresh[name], wrong[name], is_wrong, chosen)
                    numbers = range(1, len(chosen) + 1)
                    said = compare_weighed(sealed[of], asked, numbers)
                    quality = said.quality if said else None
                    limit = ReviewSection().max_disagreement
                    blocks = quality.blocks(limit) or "pass" if quality else "unknown"
                    named = set(quality.doubtful) if quality else set()
                    hits = sum(number <= is_wrong.sum() for number in named)
                    found.append(
                        (blocks, hits, len(named), quality.wrong_fraction if quality else 0)
                    )
                    key = (of == name, share)
                    stopped.setdefault(key, []).append(blocks in ("refuse", "human"))
                outcomes = sorted({one for one, *_ in found})
                told = {one: sum(one == other for other, *_ in found) for one in outcomes}
                hits, named = (sum(one[place] for one in found) for place in (1, 2))
                recall = hits / max(1, share * len(chosen) * NUM_DRAWS)
                with capsys.disabled():
                    print(
                        f"sealed {of}, new {name}, {share:.0%} exchanged: {told}, "
                        f"said {np.mean([one[3] for one in found]):.0%}, "
                        f"recall {recall:.2f}, precision {hits / max(1, named):.2f}",
                        flush=True,
                    )
    shares = {key: float(np.mean(found)) for key, found in stopped.items()}
    with capsys.disabled():
        print({f"{'same' if same else 'new'} {share:.0%}": one for (same, share), one in
               shares.items()})  # fmt: skip
    assert max(shares[True, 0.0], shares[False, 0.0]) <= 0.05
    assert shares[True, 1.0] >= 0.95
