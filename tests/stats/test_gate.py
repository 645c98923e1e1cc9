"""The gate: each verdict with its reasons, and what it does over many rounds."""

import json

import numpy as np
import pytest

from hub_trainer.answers import Prediction, load_answer
from hub_trainer.metrics.written_answers import Losses, Measured, compare
from hub_trainer.stats import (
    Floor,
    GateRule,
    compare_scores,
    count_looks,
    decide,
    decide_first,
    mcnemar,
)


def _answers(num_won, num_lost, num_examples):
    rest = num_examples - num_won - num_lost
    new = np.repeat([1, 0, 1], [num_won, num_lost, rest])
    old = np.repeat([0, 1, 1], [num_won, num_lost, rest])
    return new, old


def test_alpha_spent_over_any_number_of_looks_stays_under_alpha():
    spent = [GateRule(num_looks=looks).alpha_spent for looks in range(10_000)]
    assert spent[:3] == pytest.approx([0.05 / 3, 0.05 / 6, 0.05 / 10])
    assert 0.0499 < sum(spent) < 0.05


def test_alpha_spent_after_promotions_takes_their_shares_along():
    shares = [GateRule(num_looks=looks).alpha_spent for looks in range(4)]
    rule = GateRule(num_looks=3, num_promoted_in_a_row=2)
    assert rule.alpha_spent == pytest.approx(sum(shares[1:]))
    never_held = GateRule(num_looks=50, num_promoted_in_a_row=50)
    assert 0.047 < never_held.alpha_spent < 0.05


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([], (0, 0)),
        (["promote"], (1, 1)),
        (["promote", "hold"], (2, 0)),
        (["reject", "promote", "promote"], (3, 2)),
    ],
)
def test_count_looks_of_earlier_verdicts_finds_the_latest_promotions(verdicts, expected):
    assert count_looks(verdicts) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 0}, "must lie in"),
        ({"power": 1}, "must lie in"),
        ({"num_looks": 1, "num_promoted_in_a_row": 2}, "2 promotions in a row but only 1 looks"),
    ],
)
def test_gate_rule_of_impossible_values_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        GateRule(**arguments)


def test_decide_with_a_clearly_better_model_promotes():
    found = decide(*_answers(60, 20, 1000), rule=GateRule())
    assert found.verdict == "promote"
    assert found.against == "published"
    assert found.difference == pytest.approx(0.04)
    assert "+0.0400" in found.reasons[0]
    assert "the published model on the same 1000 examples" in found.reasons[0]
    assert found.reasons[-1].startswith("better: one-sided p = ")


def test_decide_with_too_few_examples_holds_and_says_how_many_it_needs():
    found = decide(*_answers(12, 8, 200), rule=GateRule())
    assert found.verdict == "hold"
    assert found.required_num_examples is not None
    assert found.required_num_examples > 200
    assert 0 < found.minimum_detectable_effect < 0.2
    assert f"needs about {found.required_num_examples} examples" in found.reasons[-1]


def test_decide_with_the_same_evidence_later_holds_as_alpha_is_spent():
    answers = _answers(40, 20, 1000)
    assert decide(*answers, rule=GateRule()).verdict == "promote"
    late = decide(*answers, rule=GateRule(num_looks=5))
    assert late.verdict == "hold"
    assert "at look 6" in late.reasons[-1]


def test_decide_with_no_difference_holds_and_promises_nothing():
    found = decide(*_answers(10, 10, 500), rule=GateRule())
    assert (found.verdict, found.required_num_examples) == ("hold", None)
    assert "no number of examples" in found.reasons[-1]


def test_decide_with_a_worse_model_rejects():
    found = decide(*_answers(10, 40, 500), rule=GateRule())
    assert found.verdict == "reject"
    assert found.reasons[-1].startswith("worse: one-sided p = ")


def test_decide_with_a_slice_that_regressed_rejects_a_better_model():
    new = np.concatenate([np.ones(900), np.repeat([0, 1], [20, 80])])
    old = np.concatenate([np.repeat([0, 1], [120, 780]), np.ones(100)])
    slices = {"language": ["en"] * 900 + ["fr"] * 100}
    found = decide(new, old, rule=GateRule(), slices=slices)
    assert found.p_value < found.alpha_spent
    assert found.verdict == "reject"
    worst = found.slices[0]
    assert (worst.column, worst.value, worst.num_examples) == ("language", "fr", 100)
    assert worst.change == pytest.approx(-0.2)
    assert worst.regressed
    assert any("language = fr: 1.0000 to 0.8000" in reason for reason in found.reasons)
    assert (
        decide(new, old, rule=GateRule(min_slice_change=-0.25), slices=slices).verdict == "promote"
    )


def test_decide_with_many_small_slices_adjusts_for_their_number():
    # one of 40 slices lost 6 of 6: p = 0.016 by itself, not among 40
    new, old = np.ones(400), np.ones(400)
    new[:6] = 0
    slices = {"label": [f"label {row // 10}" for row in range(400)]}
    worst = decide(new, old, rule=GateRule(alpha=0.001), slices=slices).slices[0]
    assert worst.change == pytest.approx(-0.6)
    assert worst.p_value_worse == pytest.approx(40 * 0.5**6)
    assert not worst.regressed


def test_decide_with_a_slice_column_of_wrong_length_is_refused():
    with pytest.raises(ValueError, match="slice column label: 2 values, 100 examples"):
        decide(*_answers(5, 5, 100), rule=GateRule(), slices={"label": ["a", "b"]})


def test_decide_by_macro_f1_rests_on_that_metric():
    rng = np.random.default_rng(0)
    references = rng.integers(0, 3, 600)
    old = np.where(rng.random(600) < 0.7, references, rng.integers(0, 3, 600))
    new = np.where(rng.random(600) < 0.4, references, old)
    names = ["a", "b", "c"]
    truth, *pair = ([names[one] for one in ids] for ids in (references, new, old))
    said = [[Prediction(value) for value in values] for values in pair]
    compared = load_answer("label").compare("f1_macro", truth, (said[0], said[1]), names, seed=4)
    found = decide(
        new == references, old == references, rule=GateRule(), comparison=compared, seed=4
    )
    assert (found.metric, found.seed, found.verdict) == ("f1_macro", 4, "promote")
    assert found.reasons[0].startswith("f1_macro 0.")
    assert found.required_num_examples is not None


def test_decide_with_too_few_permutations_for_the_alpha_says_so():
    rng = np.random.default_rng(0)
    old = rng.random(50)
    found = decide(old + 0.2, old, rule=GateRule(num_looks=80))
    assert found.verdict == "hold"
    assert "20000 permutations cannot show less than this alpha" in found.reasons[-1]


def test_decide_first_with_a_model_no_better_than_a_constant_holds():
    found = decide_first(*_answers(11, 9, 60), rule=GateRule())
    assert (found.verdict, found.against, found.slices) == ("hold", "baseline", ())
    assert "a constant answer" in found.reasons[0]


def test_decide_first_with_a_useful_model_promotes():
    assert decide_first(*_answers(50, 10, 100), rule=GateRule()).verdict == "promote"


@pytest.mark.parametrize(
    ("won", "lost", "verdict", "told"),
    [
        (60, 20, "promote", "better than a constant answer"),
        (20, 20, "promote", "better than a constant answer"),
        (20, 24, "hold", "below a cheap probe, which a first model may not be"),
        (10, 60, "reject", "worse than a cheap probe: one-sided p = "),
    ],
)
def test_decide_first_with_a_floor_never_promotes_below_it(won, lost, verdict, told):
    new, constant = np.repeat([1, 0], [400, 200]), np.repeat([1, 0], [100, 500])
    probe = new.copy()
    probe[:won], probe[400 : 400 + lost] = 0, 1
    floor = Floor("probe", compare_scores(new, probe))
    found = decide_first(new, constant, rule=GateRule(), floors=[floor])
    assert found.verdict == verdict
    assert found.p_value < found.alpha_spent
    assert found.floors[0].difference == pytest.approx((won - lost) / 600)
    assert found.reasons[1].startswith(f"against {probe.mean():.4f} of a cheap probe: ")
    assert told in found.reasons[-1]
    assert json.loads(json.dumps(found.as_dict()))["floors"][0]["against"] == "probe"


def test_decide_first_with_several_floors_adjusts_for_their_number():
    new = np.repeat([1, 0], [400, 200])
    probe = np.repeat([0, 1, 0, 1, 0], [10, 390, 0, 21, 179])
    floor = Floor("probe", compare_scores(new, probe))
    alone = decide_first(new, 0 * new, rule=GateRule(), floors=[floor])
    assert alone.verdict == "reject"
    several = decide_first(
        new, 0 * new, rule=GateRule(), floors=[floor, Floor("base", floor.comparison)]
    )
    assert several.verdict == "hold"
    assert several.floors[0].p_value_worse == pytest.approx(2 * alone.floors[0].p_value_worse)


def test_decide_first_with_a_loss_below_the_floor_holds():
    nats, num_tokens = np.linspace(1, 3, 40), np.full(40, 2)
    mine = Losses(nats, num_tokens)
    better = Losses(nats - np.resize([0.3, -0.2], 40), num_tokens)
    worse = Losses(nats + 4, num_tokens)
    of_mine, of_better, of_worse = (
        Measured("completion_loss", one.scores, one) for one in (mine, better, worse)
    )
    found = decide_first(
        mine.scores,
        worse.scores,
        rule=GateRule(),
        comparison=compare(of_mine, of_worse),
        floors=[Floor("base", compare(of_mine, of_better))],
    )
    assert found.verdict == "hold"
    assert found.floors[0].difference > 0
    assert found.floors[0].is_below
    assert "the base model as it is (lower is better)" in found.reasons[1]


def test_decision_as_dict_is_json_and_the_same_each_time():
    answers = _answers(30, 10, 300)
    slices = {"label": ["a", "b", "c"] * 100}
    first, second = (
        json.dumps(decide(*answers, rule=GateRule(), slices=slices, seed=1).as_dict())
        for _ in range(2)
    )
    assert first == second
    assert json.loads(first)["verdict"] == "promote"


def _verdict(rng, difference, discordance, rule, num_examples=1540):
    """What the gate says of a model that is truly better by `difference`."""
    won, lost = (discordance + difference) / 2, (discordance - difference) / 2
    draw = rng.multinomial(num_examples, [won, lost, 1 - won - lost])
    return decide(*_answers(draw[0], draw[1], num_examples), rule=rule).verdict


def _history(rng, differences, discordance):
    verdicts = []
    for difference in differences:
        rule = GateRule(**dict(zip(RULE_COUNTS, count_looks(verdicts), strict=True)))
        verdicts.append(_verdict(rng, difference, discordance, rule))
    return verdicts


RULE_COUNTS = ("num_looks", "num_promoted_in_a_row")


@pytest.mark.slow
@pytest.mark.parametrize("discordance", [0.05, 0.1])
def test_gate_over_500_null_histories_rarely_promotes(discordance):
    rng = np.random.default_rng(11)
    histories = [_history(rng, [0.0] * 10, discordance) for _ in range(500)]
    family_wise = np.mean(["promote" in history for history in histories])
    always_alpha = [
        any(_naive_p_value(rng, discordance) <= 0.05 for _ in range(10)) for _ in range(500)
    ]
    naive = np.mean(always_alpha)
    print(f"null, discordance {discordance}: {family_wise:.3f} of 10-round histories promote")
    print(f"  with alpha 0.05 each round: {naive:.3f}")
    assert family_wise <= 0.05
    assert naive > 0.25


def _naive_p_value(rng, discordance, num_examples=1540):
    won, lost, _ = rng.multinomial(
        num_examples, [discordance / 2, discordance / 2, 1 - discordance]
    )
    return mcnemar(*_answers(won, lost, num_examples)).p_value


@pytest.mark.slow
def test_gate_after_true_promotions_keeps_its_promise():
    rng = np.random.default_rng(12)
    differences = [0.03, 0.0, 0.03, 0.03, 0.0, 0.0, 0.03, 0.0, 0.03, 0.0]
    histories = [_history(rng, differences, 0.05) for _ in range(1000)]
    false = np.mean(
        [
            any(v == "promote" and not d for v, d in zip(one, differences, strict=True))
            for one in histories
        ]
    )
    print(f"five true and five null rounds: false promotion in {false:.3f} of histories")
    assert false <= 0.05


@pytest.mark.slow
def test_gate_at_two_points_has_the_power():
    rng, power = np.random.default_rng(13), {}
    for looks, in_a_row in ((0, 0), (1, 1), (4, 4), (1, 0), (2, 0), (9, 0)):
        rule = GateRule(num_looks=looks, num_promoted_in_a_row=in_a_row)
        for discordance in (0.05, 0.1):
            verdicts = [_verdict(rng, 0.02, discordance, rule) for _ in range(1000)]
            share = np.mean([verdict == "promote" for verdict in verdicts])
            power[looks, in_a_row, discordance] = share
            print(
                f"power at +2 points, n=1540, discordance {discordance}, after {looks} looks "
                f"({in_a_row} promoted in a row, alpha {rule.alpha_spent:.4f}): {share:.3f}"
            )
    assert power[0, 0, 0.05] >= 0.8
    assert power[1, 1, 0.05] >= 0.8
    assert power[4, 4, 0.05] >= 0.8


def _losses(shift, num_examples=300):
    rng = np.random.default_rng(0)
    nats, num_tokens = rng.gamma(4, 5.0, num_examples), np.full(num_examples, 10)
    noise = rng.normal(0, 1, num_examples)
    return Losses(nats + shift + noise, num_tokens), Losses(nats, num_tokens)


@pytest.mark.parametrize(("shift", "verdict"), [(-1, "promote"), (1, "reject"), (0, "hold")])
def test_decide_when_lower_is_better_then_reasons_are_in_the_metric_itself(shift, verdict):
    new, old = _losses(shift)
    found = decide(
        new.scores,
        old.scores,
        rule=GateRule(),
        comparison=compare(*(Measured("completion_loss", one.scores, one) for one in (new, old))),
        slices={"half": [index % 2 for index in range(300)]},
    )
    assert found.verdict == verdict
    assert found.lower_is_better
    assert found.value == pytest.approx(new.nats.sum() / new.num_tokens.sum())
    assert found.difference == pytest.approx(found.value - found.baseline_value)
    assert np.sign(found.difference) == np.sign(shift) or not shift
    assert (found.required_num_examples is not None) == (found.difference < 0)
    assert "the published model (lower is better)" in found.reasons[0]
    assert [one.regressed for one in found.slices] == [verdict == "reject"] * 2
    for one in found.slices:
        assert one.score > 0
        assert one.change == pytest.approx(one.score - one.baseline_score)
    if verdict == "reject":
        assert "above +0.0300" in found.reasons[1]


def test_decide_first_against_the_base_says_so():
    new, old = _answers(60, 20, 1000)
    found = decide_first(new, old, rule=GateRule(), against="base")
    assert (found.verdict, found.against) == ("promote", "base")
    assert "of the base model as it is on the same" in found.reasons[0]
