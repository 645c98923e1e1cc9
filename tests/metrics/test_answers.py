"""Metrics of written answers and of likelihoods: values by hand, intervals, comparisons."""

import math

import numpy as np
import pytest

from hub_trainer.metrics import METRICS, load_metric, metric_names, metric_spec
from hub_trainer.metrics.written_answers import (
    Losses,
    Measured,
    Sealed,
    byte_log_prob,
    can_be_scored,
    compare,
    estimate,
    score_answers,
    score_preferences,
)

SEALED = [Sealed("The cat sat."), Sealed("A dog ran", ("dog", "ran")), Sealed("no")]
ANSWERS = ["cat sat!", "the dog sat", ""]
BY_HAND = {
    "exact_match": [1, 0, 0],
    "token_f1": [1, 1 / 2, 0],
    "rouge": [2 * 2 / 5, 2 * 1 / 6, 0],
    "contains": [0, 0, 0],
    "json_schema": [0, 0, 0],
}


def loss_of(name, found):
    return Measured(name, found.scores, found)


def losses(count=200, *, better=0.0, seed=0):
    rng = np.random.default_rng(seed)
    num_tokens = rng.integers(1, 20, count)
    noise = np.random.default_rng(seed + 1).normal(0, 0.2, count) if better else 0.0
    return Losses(num_tokens * (rng.gamma(4, 0.5, count) - better + noise), num_tokens)


@pytest.mark.parametrize("name", sorted(metric_names("answers")))
def test_scores_of_a_small_case_equal_those_by_hand(name):
    found = score_answers(name, ANSWERS, SEALED, json_schema={"type": "object"})
    assert found.tolist() == pytest.approx(BY_HAND[name])


def test_contains_when_something_is_expected_then_that_and_not_the_reference():
    found = score_answers("contains", ["a dog that ran", "a dog ran"], [SEALED[1], SEALED[0]])
    assert found.tolist() == [1, 0]


@pytest.mark.parametrize("name", sorted(metric_names("answers", "likelihoods")))
def test_module_of_a_small_case_gives_the_mean_and_the_scores(name):
    if metric_spec(name).needs == "answers":
        scores = np.array(BY_HAND[name], dtype=float)
        assert estimate(Measured(name, scores)).value == pytest.approx(np.mean(BY_HAND[name]))
        return
    found = load_metric(name).compute(log_probs=[-2.0, -1.0], num_tokens=[4, 1])
    per_token = {"completion_loss": (3 / 5, [0.5, 1.0])}
    per_token["perplexity"] = (math.exp(3 / 5), [math.exp(0.5), math.exp(1.0)])
    value, scores = per_token[name]
    assert found == {name: pytest.approx(value), "scores": pytest.approx(scores)}


def test_metrics_when_lower_is_better_then_only_those_of_likelihoods():
    lower = {name for name, spec in METRICS.items() if spec.lower_is_better}
    assert lower == metric_names("likelihoods") == {"completion_loss", "perplexity"}


def test_preferences_of_a_small_case_equal_those_by_hand_and_equals_are_not_preferred():
    chosen, rejected = [-3.0, -9.5, -4.0], [-5.0, -9.0, -4.0]
    assert score_preferences("preference_accuracy", chosen, rejected).tolist() == [1, 0, 0]
    margins = score_preferences("preference_margin", chosen, rejected)
    assert margins.tolist() == pytest.approx([2, -0.5, 0])
    mean = load_metric("preference_margin").compute(chosen=chosen, rejected=rejected)
    assert mean["preference_margin"] == pytest.approx(0.5)


def test_preference_metrics_when_named_then_a_share_and_a_mean_in_nats():
    of = {name: metric_spec(name) for name in metric_names("preferences")}
    assert {name: spec.is_share for name, spec in of.items()} == {
        "preference_accuracy": True,
        "preference_margin": False,
    }
    assert of["preference_margin"].unit == "nats"
    assert not any(spec.lower_is_better for spec in of.values())


def test_can_be_scored_when_preferences_then_only_where_both_answers_are_known():
    names = metric_names("preferences")
    both = Sealed("yes", rejected="no")
    assert all(can_be_scored(name, both) for name in names)
    assert not any(can_be_scored(name, Sealed("yes")) for name in names)


def test_can_be_scored_when_only_a_bad_answer_is_known_then_by_what_is_expected():
    bad = Sealed(None, ("Tim",))
    able = {name for name in metric_names("answers", "likelihoods") if can_be_scored(name, bad)}
    assert able == {"contains", "json_schema"}
    assert not can_be_scored("contains", Sealed(None))
    assert can_be_scored("perplexity", Sealed("x"))


def test_estimate_when_a_share_then_wilson_and_otherwise_bootstrapped():
    scores = (np.arange(100) < 80).astype(float)
    share = estimate(Measured("contains", scores))
    assert (share.method, share.value) == ("wilson", 0.8)
    graded = estimate(Measured("token_f1", scores * np.linspace(0.5, 1, 100)))
    assert graded.method == "bca"
    assert graded.interval.low < graded.value < graded.interval.high


def test_loss_when_estimated_then_all_tokens_weigh_alike_and_perplexity_is_its_exponential():
    found = losses()
    loss = estimate(loss_of("completion_loss", found))
    perplexity = estimate(loss_of("perplexity", found))
    assert loss.value == pytest.approx(found.nats.sum() / found.num_tokens.sum())
    assert loss.value == pytest.approx(-found.scores.mean())
    assert loss.interval.low < loss.value < loss.interval.high
    assert perplexity.value == pytest.approx(math.exp(loss.value))
    assert perplexity.interval.low == pytest.approx(math.exp(loss.interval.low))
    assert perplexity.interval.high == pytest.approx(math.exp(loss.interval.high))


def test_loss_interval_when_drawn_often_then_holds_the_truth():
    mean_tokens_loss = 2.0  # gamma(4, 0.5) per token, whatever the length
    held = [
        mean_tokens_loss in estimate(loss_of("completion_loss", losses(60, seed=seed))).interval
        for seed in range(100)
    ]
    assert 0.86 <= np.mean(held) <= 1.0


@pytest.mark.parametrize("name", ["completion_loss", "perplexity"])
def test_comparison_of_losses_when_the_new_one_is_lower_then_it_is_better(name):
    old, new = losses(), losses(better=0.3)
    compared = compare(loss_of(name, new), loss_of(name, old))
    assert compared.lower_is_better
    assert compared.difference < 0 < compared.improvement
    assert compared.difference == pytest.approx(compared.value - compared.baseline_value)
    assert compared.interval.low < compared.difference < compared.interval.high < 0
    assert compared.p_value < 0.001 < 0.999 < compared.p_value_worse
    assert compared.metric == name
    back = compare(loss_of(name, old), loss_of(name, new))
    assert back.difference > 0 > back.improvement
    assert back.p_value > 0.999


def test_comparison_of_losses_when_the_models_are_one_then_nothing_is_shown():
    compared = compare(loss_of("completion_loss", losses()), loss_of("completion_loss", losses()))
    assert (compared.difference, compared.p_value, compared.p_value_worse) == (0, 1, 1)


def test_comparison_of_answers_when_shares_then_by_mcnemar_else_by_permutation():
    better, worse = np.array([1.0] * 9 + [0]), np.array([0.0] * 9 + [1])
    assert compare(Measured("contains", better), Measured("contains", worse)).method == "mcnemar"
    graded = compare(Measured("token_f1", better * 0.5), Measured("token_f1", worse))
    assert (graded.method, graded.metric) == ("permutation", "token_f1")


def test_byte_log_prob_when_text_is_not_ascii_then_its_bytes_count():
    assert byte_log_prob("é") == pytest.approx(-2 * math.log(256))
    assert byte_log_prob("") == 0
