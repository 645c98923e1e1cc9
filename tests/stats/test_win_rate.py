"""Win rates: on the same examples, and between models in blind pairs."""

import numpy as np
import pytest

from hub_trainer.errors import DataError
from hub_trainer.stats import PairVote, crowd_win_rates, win_rate

OLD, NEW = "ada/m@1", "ada/m@2"


def vote(rater: str, pair: str, preferred: str = NEW, other: str = OLD, *, tie: bool = False):
    return PairVote(rater, pair, preferred, other, tie)


def test_win_rate_when_scores_differ_then_a_tie_is_half_a_win() -> None:
    found = win_rate([0.5, 0.2, 0.9, 0.4], [0.1, 0.2, 0.8, 0.6])
    assert (found.wins, found.ties, found.losses) == (2, 1, 1)
    assert found.estimate.value == pytest.approx(2.5 / 4)
    assert found.estimate.interval.low < 2.5 / 4 < found.estimate.interval.high


def test_win_rate_when_losses_then_higher_scores_win() -> None:
    found = win_rate([-1.0, -2.0], [-1.5, -2.5])
    assert (found.wins, found.estimate.value) == (2, 1.0)
    assert found.estimate.interval.low < 1.0


def test_win_rate_when_the_models_are_one_then_one_half() -> None:
    found = win_rate(np.ones(50), np.ones(50))
    assert (found.ties, found.estimate.value) == (50, 0.5)


def test_win_rate_when_there_are_no_examples_then_says_so() -> None:
    with pytest.raises(DataError, match="no examples"):
        win_rate([], [])


def test_crowd_when_pairs_are_rated_then_counts_votes_raters_and_pairs() -> None:
    votes = [
        vote("ann", "p1"),
        vote("ann", "p2", OLD, NEW),
        vote("bob", "p1", tie=True),
        vote("cat", "p3"),
        vote("cat", "p4", "ada/m@3", NEW),
    ]
    third, first = sorted(crowd_win_rates(votes), key=lambda one: one.num_pairs)
    assert (first.model, first.rival) == (NEW, OLD)
    assert (first.rate.wins, first.rate.ties, first.rate.losses) == (2, 1, 1)
    assert first.rate.estimate.value == pytest.approx(2.5 / 4)
    assert (first.num_pairs, first.num_raters) == (3, 3)
    assert (third.model, third.rival, third.num_raters) == ("ada/m@3", NEW, 1)


def test_crowd_when_a_rater_votes_again_then_the_last_vote_counts() -> None:
    votes = [vote("ann", "p1"), vote("ann", "p1", OLD, NEW), vote("ann", "p1", tie=True)]
    (found,) = crowd_win_rates(votes)
    assert (found.rate.wins, found.rate.ties, found.rate.losses) == (0, 1, 0)


def test_crowd_when_one_rater_votes_a_thousand_times_then_it_is_one_opinion() -> None:
    flood = [vote("ann", f"p{i}") for i in range(1000)]
    (one,) = crowd_win_rates(flood)
    assert one.rate.estimate.value == 1.0
    assert one.rate.estimate.interval.low < 0.5
    many = [vote(f"r{i % 50}", f"p{i}") for i in range(1000)]
    assert crowd_win_rates(many)[0].rate.estimate.interval.low > 0.9


def test_crowd_when_a_model_meets_itself_then_that_says_nothing() -> None:
    assert crowd_win_rates([vote("ann", "p1", NEW, NEW)]) == []
    assert crowd_win_rates([]) == []


def test_crowd_interval_when_raters_differ_then_holds_the_truth() -> None:
    rng = np.random.default_rng(3)
    held = []
    for seed in range(150):
        votes = []
        for rater in range(30):
            liking = rng.beta(6, 4)  # mean 0.6
            for pair in range(int(rng.integers(1, 15))):
                models = (NEW, OLD) if rng.random() < liking else (OLD, NEW)
                votes.append(vote(f"r{rater}", f"{rater}-{pair}", *models))
        (found,) = crowd_win_rates(votes, seed=seed)
        interval = found.rate.estimate.interval
        truth = 0.6 if found.model == NEW else 0.4
        held.append(truth in interval)
    assert np.mean(held) >= 0.88
