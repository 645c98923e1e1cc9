"""Sample sizes of the paired test: against published figures and against simulation."""

import numpy as np
import pytest

from hub_trainer.stats import mcnemar, minimum_detectable_effect, required_num_examples

# one-sided 0.05, power 0.8; computed with z rounded to 1.645 and 0.842
KNOWN = {
    (0.01, 0.05): 3086,
    (0.01, 0.10): 6179,
    (0.01, 0.20): 12364,
    (0.02, 0.05): 767,
    (0.02, 0.10): 1540,
    (0.02, 0.20): 3086,
    (0.03, 0.05): 337,
    (0.03, 0.10): 681,
    (0.03, 0.20): 1368,
}


@pytest.mark.parametrize(("difference", "discordance"), KNOWN)
def test_required_num_examples_equals_the_known_table(difference, discordance):
    expected = KNOWN[difference, discordance]
    found = required_num_examples(difference, discordance)
    assert abs(found - expected) <= max(1, 0.0005 * expected)


@pytest.mark.parametrize(("difference", "discordance"), [(0, 0.1), (0.2, 0.1), (0.1, 1.5)])
def test_required_num_examples_of_the_impossible_is_refused(difference, discordance):
    with pytest.raises(ValueError, match="must not be 0 nor exceed the discordance"):
        required_num_examples(difference, discordance)


def test_minimum_detectable_effect_at_the_required_size_is_the_difference():
    num_examples = required_num_examples(0.02, 0.1)
    standard_error = ((0.1 - 0.02**2) / num_examples) ** 0.5
    assert minimum_detectable_effect(standard_error) == pytest.approx(0.02, rel=1e-3)


@pytest.mark.slow
def test_mcnemar_at_the_required_size_has_the_power():
    num_examples, rng = required_num_examples(0.02, 0.1), np.random.default_rng(0)
    shares = [0.06, 0.04, 0.90]
    hits = 0
    for won, lost, _ in rng.multinomial(num_examples, shares, size=3000):
        new = np.repeat([True, False], [won, lost])
        hits += mcnemar(new, ~new).p_value <= 0.05
    print(f"power of the exact test at n={num_examples}: {hits / 3000:.3f}")
    assert 0.76 < hits / 3000 < 0.82  # exact, so a little under the normal approximation
