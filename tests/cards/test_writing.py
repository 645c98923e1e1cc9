"""The card of a model that writes: every number is the evaluation's, nothing speaks of labels."""

import re
from typing import Any

import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from hub_trainer.cards import BaseModel, CardFacts, render_card, results_section
from hub_trainer.reports import FitReport
from tests.cards.evidence import BASE_REPO, DATA_REPO, FIT, PREPARED, SHAS, facts, presentation
from tests.cards.evidence import recipe as label_recipe
from tests.cards.test_card import numbers_of
from tests.cards.test_markdown import HOSTILE

HEADINGS = ["How to use", "How to rate", "Results", "Examples", "Limits", "Training data"]
HEADINGS += ["Training", "Contributors", "Licence"]
NUMBER = re.compile(r"(?<![\w.])[+-]?\d\.\d{4}(?!\d)")
NEW, OLD = f"ada/writer@{'2' * 40}", f"ada/writer@{'1' * 40}"


def estimate(value: float, **more: Any) -> dict[str, Any]:
    return {"value": value, "low": value - 0.0511, "high": value + 0.0622, **more}


def written(**changes: Any) -> dict[str, Any]:
    """results.json of a model that writes, as evaluate writes it."""
    content: dict[str, Any] = {
        "metrics": {"completion_loss": estimate(1.2345), "contains": estimate(0.4321)},
        "published": {"completion_loss": estimate(1.5432), "contains": estimate(0.3214)},
        "base": {
            "description": "the base model ada/base as it is",
            "metrics": {"completion_loss": estimate(2.1111), "contains": estimate(0.1234)},
        },
        "primary": "completion_loss",
        "num_examples": 120,
        "num_scored": {"completion_loss": 80, "contains": 120},
        "comparison": {"p_value": 0.0123, "difference": estimate(-0.3087), "method": "x"},
        "win_rate": estimate(0.6543, wins=70, ties=17, losses=33),
        "gate": {
            "verdict": "promote",
            "reasons": ["completion_loss 1.2345 against 1.5432 (lower is better)"],
            "minimum_detectable_effect": 0.0612,
            "slices": [
                {"column": "topic", "value": "cats", "regressed": True, "change": 0.0711},
            ],
        },
        "answers": {"new": {"mean_tokens": 41.23, "finished_fraction": 0.75}},
        "sampling": {"max_new_tokens": 64, "temperature": None, "top_k": None, "top_p": 1.0},
        "crowd": [
            {
                **estimate(0.7654, wins=20, ties=3, losses=4),
                **{"model": NEW, "rival": OLD, "pairs": 25, "raters": 9},
            }
        ],
        "examples": [
            {"prompt": "Tell of a cat.", "reference": "A cat sat.", "answer": "Once a cat sat."},
            {"prompt": "Write to jane.doe@example.com", "answer": "Dear Jane"},
        ],
    }
    return {**content, **changes}


def recipe(**train: Any) -> Any:
    return label_recipe(
        task="text-generation",
        train={"method": "lora", **train},
        evaluate={"metrics": ["completion_loss", "contains"], "primary": "completion_loss"},
    )


def prepared(kinds: tuple[str, ...] = ("demonstration",)) -> dict[str, Any]:
    counts = {split: dict.fromkeys(kinds, 40) for split in ("train", "validation", "test")}
    return {**PREPARED, "label_names": list(kinds), "counts": counts, "warnings": []}


def writer(**changes: Any) -> CardFacts:
    content: dict[str, Any] = {
        "recipe": recipe(),
        "results": written(),
        "prepared": prepared(),
        "base_model": BaseModel(BASE_REPO, SHAS[BASE_REPO], "adapter", BASE_REPO),
        "presentation": presentation(library_name="peft", tags=("text-generation",)),
        "fit": FitReport.from_json(
            {**FIT, "notes": ["3 of 40 training examples were cut at their end"]}
        ),
    }
    return facts(**{**content, **changes})


def test_card_when_a_model_writes_then_nothing_speaks_of_labels() -> None:
    card = render_card(writer())
    assert re.findall(r"^## (.*)$", card, re.MULTILINE) == HEADINGS
    text = card.split("---\n", 2)[2]
    assert "label" not in text.lower()
    assert "confusion" not in text
    assert "A model for text generation, round 2" in text
    assert "| kind " in text


def test_card_when_a_model_writes_then_every_number_is_the_evaluations() -> None:
    found = set(NUMBER.findall(results_section(writer())))
    assert found <= numbers_of(written())
    for value in ("1.2345", "0.4321", "1.5432", "2.1111", "0.6543", "0.7654"):
        assert value in found


def test_card_when_several_rows_ask_one_prompt_then_it_says_why_examples_are_fewer() -> None:
    told = "On 120 sealed test examples (150 test rows, each prompt asked once)"
    assert told in results_section(writer(results=written(num_rows=150)))
    assert "asked once" not in results_section(writer(results=written(num_rows=120)))


def test_card_when_lower_is_better_then_the_table_says_so() -> None:
    section = results_section(writer())
    assert "| **completion_loss**, lower is better |" in section
    assert re.search(r"\| contains +\|", section)


def test_card_when_there_is_a_published_model_then_its_win_rate_is_told() -> None:
    section = results_section(writer())
    told = "beats the published model on 70 test examples, ties on 17 and loses on 33"
    assert told in section
    assert "win rate" not in results_section(writer(results=written(win_rate=None, crowd=[])))


def test_card_when_people_compared_models_then_a_row_for_each_two() -> None:
    section = results_section(writer())
    (row,) = (line for line in section.splitlines() if "20 / 3 / 4" in line)
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        *("`ada/writer 2222222`", "`ada/writer 1111111`"),
        *("0.7654 [0.7143, 0.8276]", "20 / 3 / 4", "9"),
    ]


def test_card_when_many_models_were_compared_then_those_of_most_pairs_are_shown() -> None:
    one = written()["crowd"][0]
    many = [{**one, "model": f"a/m{n}@1", "pairs": n} for n in range(30)]
    section = results_section(writer(results=written(crowd=many)))
    assert section.count("20 / 3 / 4") == 10
    assert "a/m29" in section
    assert "a/m5 " not in section


@pytest.mark.parametrize(
    ("sampling", "told"),
    [
        ({"temperature": None, "top_k": None, "top_p": 1.0}, "were answered greedily, in 64"),
        (
            {"temperature": 0.7, "top_k": 40, "top_p": 0.9},
            "by sampling (temperature 0.7, top_k 40, top_p 0.9), in 64 tokens at most",
        ),
        ({"temperature": 1.0, "top_k": None, "top_p": 1.0}, "(temperature 1, top_p 1)"),
    ],
)
def test_card_when_answers_were_written_then_says_how(sampling: dict[str, Any], told: str) -> None:
    section = results_section(writer(results=written(sampling={"max_new_tokens": 64, **sampling})))
    assert told in section
    assert "41.2 tokens on average, 75 % of the answers came to their own end" in section


def test_card_when_nothing_was_answered_then_says_that_likelihoods_were_measured() -> None:
    card = render_card(writer(results=written(answers={})))
    assert "Likelihoods were measured; no test prompt was answered." in card
    assert "test prompts were cut" not in card


def test_card_when_not_all_could_be_scored_then_says_which() -> None:
    assert "Not all of the 120 examples could be scored: completion_loss 80." in results_section(
        writer()
    )
    all_scored = written(num_scored={"completion_loss": 120, "contains": 120})
    assert "could be scored" not in results_section(writer(results=all_scored))


def test_card_when_preferences_were_compared_then_says_how_and_in_which_unit() -> None:
    section = results_section(
        writer(
            results=written(
                metrics={"preference_accuracy": estimate(0.62), "preference_margin": estimate(1.5)},
                primary="preference_accuracy",
            )
        )
    )
    assert "| **preference_accuracy** |" in section
    assert "| preference_margin, nats |" in section
    assert "log-probabilities summed over tokens, without a reference model" in section
    assert "without a reference model" not in results_section(writer())


def test_summary_when_not_all_could_be_scored_then_counts_those_that_were() -> None:
    assert "On 80 sealed test examples its completion_loss is" in render_card(writer())


def test_training_when_the_recipe_names_a_chat_template_then_the_card_says_which() -> None:
    of = writer().recipe.model_dump(mode="json")
    of["train"]["language"] = {"chat_template": "chatml"}
    card = render_card(writer(recipe=type(writer().recipe).model_validate(of)))
    assert re.search(r"\| chat template +\| +chatml \|", card)
    assert "chat template" not in render_card(writer())


def test_limits_when_answers_were_cut_then_says_how_many() -> None:
    card = render_card(writer())
    assert "- 25 % of its answers to the test prompts were cut at 64 tokens." in card
    assert "- Worse than the published model where `topic` = `cats`: +0.0711." in card
    assert "- The test set is small: 120 examples" in card
    assert "nothing filters it" in card
    whole = {"new": {"mean_tokens": 9.0, "finished_fraction": 0.97}}
    assert "test prompts were cut" not in render_card(writer(results=written(answers=whole)))


def test_limits_when_annotations_are_of_machines_then_says_so() -> None:
    about = presentation(machine_annotated=(DATA_REPO,))
    told = f"By its card, what {DATA_REPO} says was made by machines: no person's opinion."
    assert told in render_card(writer(presentation=about))
    assert "made by machines" not in render_card(writer())


def test_examples_when_shown_then_prompts_with_answers_and_no_personal_data() -> None:
    card = render_card(writer())
    assert "prompt: Tell of a cat.\nreference: A cat sat.\nanswer: Once a cat sat." in card
    assert "jane" not in card.lower()


def test_examples_when_long_then_their_lines_are_broken() -> None:
    shown = [{"prompt": "Tell.", "answer": "once upon a time " * 12}]
    card = render_card(writer(results=written(examples=shown)))
    block = card.split("## Examples")[1].split("```")[1]
    assert max(map(len, block.splitlines())) <= 90
    assert "\n  time once upon" in block


@pytest.mark.parametrize("text", HOSTILE)
def test_card_when_texts_are_hostile_then_no_markup_gets_out(text: str) -> None:
    spoilt = written(
        examples=[{"prompt": text, "reference": text, "answer": text}, *written()["examples"]],
        crowd=[{**written()["crowd"][0], "model": f"{text}@{text}", "rival": text}],
    )
    plain = MarkdownIt().enable("table").parse(render_card(writer()).split("---\n", 2)[2])
    found = (
        MarkdownIt().enable("table").parse(render_card(writer(results=spoilt)).split("---\n", 2)[2])
    )
    kinds = [token.type for token in plain]
    assert [token.type for token in found] == kinds
    assert "html_inline" not in {child.type for child in _inline(found)}
    assert _links(found) == _links(plain)


def _inline(tokens: list[Any]) -> list[Any]:
    return [child for token in tokens for child in token.children or ()]


def _links(tokens: list[Any]) -> list[str]:
    return [str(one.attrs["href"]) for one in _inline(tokens) if one.type == "link_open"]


def test_metadata_when_an_adapter_then_the_hub_reads_it_as_one() -> None:
    data = ModelCard(render_card(writer())).data
    assert data.library_name == "peft"
    assert data.base_model == BASE_REPO
    assert data["base_model_relation"] == "adapter"
    assert data.tags == ["hub-trainer", "lora", "sft", "text-generation"]
    assert data.pipeline_tag == "text-generation"
    assert data.metrics == ["completion_loss", "contains"]
    assert {one.metric_type: one.metric_value for one in data.eval_results or []} == {
        "completion_loss": 1.2345,
        "contains": 0.4321,
    }


@pytest.mark.parametrize(
    ("kinds", "language", "tag", "lines"),
    [
        (("demonstration",), None, "sft", ["sft, nll", "40 demonstration rows"]),
        (("preference",), None, "dpo", ["dpo, sigmoid", "beta", "0.1"]),
        (
            ("desirable", "undesirable"),
            {"loss_type": "apo_zero_unpaired", "beta": 0.3},
            "kto",
            ["kto, apo_zero_unpaired", "0.3", "40 desirable, 40 undesirable rows"],
        ),
    ],
)
def test_training_when_it_learned_from_a_kind_then_loss_and_beta_are_told(
    kinds: tuple[str, ...], language: dict[str, Any] | None, tag: str, lines: list[str]
) -> None:
    about = writer(prepared=prepared(kinds), recipe=recipe(method="full", language=language))
    card = render_card(about)
    training = card.split("## Training\n")[1]
    assert all(line in training for line in lines)
    assert ("beta" in training.split("The recipe, as far")[0]) == (tag != "sft")
    assert ModelCard(card).data.tags == sorted(["hub-trainer", tag, "text-generation"])
    assert "- 3 of 40 training examples were cut at their end." in training


def test_training_when_adapters_learned_then_says_where_they_are() -> None:
    published = "low-rank adapters learned over frozen weights, and are published by themselves"
    assert published in render_card(writer())
    quantised = render_card(writer(recipe=recipe(method="qlora")))
    assert "learned over quantised weights, and are published by themselves" in quantised
    merged = writer(base_model=BaseModel(BASE_REPO, SHAS[BASE_REPO], "finetune", BASE_REPO))
    assert "low-rank adapters learned and were merged into the weights" in render_card(merged)
