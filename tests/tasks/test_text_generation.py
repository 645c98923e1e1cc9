import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from hub_trainer.answers import Prediction, Written
from hub_trainer.errors import DataError, Interrupted, TrainingError
from hub_trainer.recipe import GenerationSection
from hub_trainer.tasks import ModelFolders, Splits, load_task
from hub_trainer.tasks.text_generation import TASK
from tests.finetune.language.tiny import WITHOUT_TAGS, tokenizer
from tests.tasks.factory import recipe
from tests.tasks.language import (
    KINDS,
    answers,
    demonstrations,
    language_base,
    likelihoods,
    preferences,
    ratings,
    rows_of,
)

GREEDY = GenerationSection(max_new_tokens=12)
SAMPLED = GenerationSection(max_new_tokens=12, temperature=1.0, top_p=0.9)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelFolders:
    return ModelFolders(language_base(tmp_path_factory.mktemp("plain")))


@pytest.fixture(scope="module")
def chat_base(tmp_path_factory: pytest.TempPathFactory) -> ModelFolders:
    return ModelFolders(language_base(tmp_path_factory.mktemp("chat"), template=WITHOUT_TAGS))


def wanted(**changes: Any) -> Any:
    known = {
        "evaluate__metrics": ["perplexity"],
        "evaluate__primary": "perplexity",
        "train__arguments": {
            "num_train_epochs": 4,
            "per_device_train_batch_size": 8,
            "learning_rate": 0.01,
            "lr_scheduler_type": "constant",
            "logging_steps": 1,
        },
    }
    return recipe("text-generation", **{**known, **changes})


def fitted(out_dir: Path, base: ModelFolders, kind: str = "sft", **changes: Any) -> Any:
    made = KINDS[kind]
    splits = Splits(made(24), made(6, seed=1), [])
    return TASK.fit(
        splits, wanted(**changes), out_dir, base=base, progress=lambda share, doing: None
    )


def losses(report: Any) -> list[float]:
    return [entry["loss"] for entry in report.history if "loss" in entry]


def spoken(*said: str, weight: float = 1) -> Any:
    """A dialogue of these turns; the weight is that of the assistant's first."""
    turns: list[dict[str, Any]] = [
        {"role": ("user", "assistant")[place % 2], "content": one} for place, one in enumerate(said)
    ]
    turns[1]["weight"] = weight
    return rows_of([{"messages": turns}])[0]


# Answering


def test_task_when_loaded_by_its_tag_then_it_is_this_one() -> None:
    assert load_task("text-generation") is TASK
    assert TASK.converses is TASK
    assert load_task("text-classification").converses is None


@pytest.mark.parametrize("template", [None, WITHOUT_TAGS])
def test_answers_when_greedy_then_they_are_those_of_generate(
    template: str | None, tmp_path: Path
) -> None:
    folders = ModelFolders(language_base(tmp_path, template=template))
    prompts: list[Any] = ["one", "twenty one and more", "x"]
    if template:
        prompts = [[{"role": "user", "content": text}] for text in prompts]
    completion = [{"role": "assistant", "content": "a"}] if template else "a"
    rows = rows_of([{"prompt": prompt, "completion": completion} for prompt in prompts])
    found = answers(folders, rows, GREEDY, seed=0)
    made = AutoTokenizer.from_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    for prompt, answer in zip(prompts, found, strict=True):
        if template:
            text = made.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        else:
            text = prompt
        ids = torch.tensor([made(text, add_special_tokens=not template)["input_ids"]])
        whole = model.generate(ids, max_new_tokens=12, do_sample=False, pad_token_id=0)
        tokens = whole[0, ids.shape[1] :].tolist()
        assert answer.value == made.decode(tokens, skip_special_tokens=True)
        assert answer.written.num_tokens == len(tokens)
        assert answer.written.finished == (tokens[-1] == made.eos_token_id)


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED])
def test_stream_when_joined_then_it_is_the_answer(
    sampling: GenerationSection, base: ModelFolders
) -> None:
    rows = demonstrations(5)
    found = answers(base, rows, sampling, seed=3)
    streamed = [[*TASK.stream(base, row, sampling, seed=3)] for row in rows]
    assert ["".join(pieces) for pieces in streamed] == [answer.value for answer in found]
    assert max(map(len, streamed)) > 3
    alone = [answers(base, [row], sampling, seed=3)[0] for row in rows]
    assert alone == found


def test_answers_when_sampled_then_the_seed_decides(base: ModelFolders) -> None:
    rows = demonstrations(5)
    assert answers(base, rows, SAMPLED, seed=3) != answers(base, rows, SAMPLED, seed=4)


def test_prompt_when_it_leaves_no_room_then_the_answer_is_empty_and_not_finished(
    base: ModelFolders,
) -> None:
    long, short = rows_of([{"prompt": "x" * n, "completion": "y"} for n in (200, 90)])
    found = answers(base, [long, short], GREEDY, seed=0)
    assert found[0] == Prediction("", written=Written(0, finished=False))
    assert found[1].written.num_tokens <= 6
    assert [*TASK.stream(base, long, GREEDY, seed=0)] == []
    assert likelihoods(base, [long])[0].num_tokens == 0


def test_text_without_a_prompt_when_asked_then_the_model_begins_one(base: ModelFolders) -> None:
    (row,) = rows_of([{"text": "Once"}])
    assert answers(base, [row], GREEDY, seed=0)[0].written.num_tokens > 0


# Likelihoods


def log_probs_by_hand(model: Any, folder: Path, prompt: str, answer: str) -> tuple[float, int]:
    made = AutoTokenizer.from_pretrained(folder)
    start = len(made(prompt)["input_ids"])
    ids = [*made(prompt + answer)["input_ids"], made.eos_token_id]
    with torch.no_grad():
        found = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    picked = [float(found[i - 1, ids[i]]) for i in range(start, len(ids))]
    return sum(picked), len(picked)


@pytest.mark.parametrize("kind", KINDS)
def test_likelihoods_when_measured_then_they_are_those_of_the_logits(
    kind: str, base: ModelFolders
) -> None:
    rows = KINDS[kind](5)
    found = likelihoods(base, rows)
    model = AutoModelForCausalLM.from_pretrained(base.model)
    for row, likelihood in zip(rows, found, strict=True):
        held = json.loads(row["example"])
        expected = log_probs_by_hand(model, base.model, held["prompt"], held["answers"][0])
        assert likelihood.log_prob == pytest.approx(expected[0], abs=1e-3)
        assert likelihood.num_tokens == expected[1]


def test_likelihood_when_the_row_is_a_dialogue_then_it_is_of_what_the_assistant_said(
    chat_base: ModelFolders,
) -> None:
    turns = [("user", "Hi"), ("assistant", "Yes"), ("user", "So"), ("assistant", "No")]
    (row,) = rows_of([{"messages": [{"role": r, "content": c} for r, c in turns]}])
    (found,) = likelihoods(chat_base, [row])
    # As many as both answers have, each with its end of turn and the line break behind it.
    assert found.num_tokens == len("Yes") + len("No") + 4
    assert found.log_prob < 0
    (of_last,) = likelihoods(chat_base, [spoken("Hi", "Yes", "So", "No", weight=0)])
    assert of_last.num_tokens == len("No") + 2
    (of_first,) = likelihoods(chat_base, [spoken("Hi", "Yes")])
    assert found.log_prob == pytest.approx(of_last.log_prob + of_first.log_prob, abs=1e-3)


def test_row_when_its_last_answer_has_no_weight_then_the_one_before_is_asked_for() -> None:
    row = spoken("Hi", "Yes", "So", "No")
    turns = json.loads(row["example"])["answers"][0]
    turns[3]["weight"] = 0
    (asked,) = rows_of([{"messages": turns}])
    assert (row["prompt"], asked["prompt"]) == ("user: Hi\nassistant: Yes\nuser: So", "user: Hi")
    assert row["text"] == asked["text"]


# Dialogues of the Space


def test_prompt_row_when_there_is_a_template_then_all_turns_are_asked(
    chat_base: ModelFolders,
) -> None:
    turns = [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Two?"},
    ]
    row = TASK.prompt_row(chat_base, turns)
    assert row["prompt"] == "user: One?\nassistant: Yes.\nuser: Two?"
    assert answers(chat_base, [row], GREEDY, seed=0)[0].written.num_tokens > 0


def test_prompt_row_when_there_is_no_template_then_the_last_turn_is_plain_text(
    base: ModelFolders,
) -> None:
    turns = [{"role": "user", "content": "One"}, {"role": "user", "content": "Two"}]
    assert TASK.prompt_row(base, turns)["prompt"] == "Two"


@pytest.mark.parametrize("turns", [[], [{"role": "user", "content": " \n"}]])
def test_prompt_when_empty_then_a_person_is_told(
    turns: list[dict[str, str]], base: ModelFolders
) -> None:
    with pytest.raises(DataError, match="nothing to answer") as caught:
        TASK.prompt_row(base, turns)
    assert caught.value.do == "write a prompt first"


def test_prompt_when_too_long_then_a_person_is_told(base: ModelFolders) -> None:
    with pytest.raises(DataError, match="no room for an answer") as caught:
        TASK.prompt_row(base, [{"role": "user", "content": "x" * 96}])
    assert caught.value.got == "96 tokens of 96 that the model takes"


# Rows


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"label": "spam", "example": "{}"}, "label is none of"),
        ({"label": "demonstration", "example": "{"}, "example is not one"),
        ({"label": "demonstration"}, "example is not one"),
        (spoken("a", "", "b", "c"), "an answer is empty"),
        (spoken("a", "bad", weight=0), "each of the assistant's turns has the weight 0"),
        (rows_of([{"prompt": "a", "completion": " "}])[0], "an answer is empty"),
        (rows_of([{"messages": [{"role": "user", "content": "a"}]}])[0], "no turn is the"),
        (rows_of([{"text": "a", "_weight": -1.0}])[0], "the weight is not"),
        (rows_of([{"text": "a", "_weight": float("inf")}])[0], "the weight is not"),
    ],
)
def test_row_when_broken_then_its_fault_is_named(row: dict[str, Any], fault: str) -> None:
    (found,) = TASK.problems(row)
    assert found.startswith(fault)


def test_row_when_its_empty_turn_has_no_weight_then_it_is_used() -> None:
    assert TASK.problems(spoken("a", "", "b", "c", weight=0)) == []


def test_row_when_it_calls_a_tool_then_it_says_something() -> None:
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
    (row,) = rows_of([{"messages": [{"role": "user", "content": "a"}, call]}])
    assert TASK.problems(row) == []


# Training


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["full", "lora"])
def test_kind_when_learned_then_the_loss_falls_and_the_folder_answers(
    kind: str, method: str, base: ModelFolders, tmp_path: Path
) -> None:
    report = fitted(tmp_path, base, kind, train__method=method)
    assert losses(report)[-1] < losses(report)[0]
    assert report.method == method
    assert report.rows == 24
    assert report.tokens > 0
    assert any("eval_loss" in entry for entry in report.history)
    whole = method == "full"
    folders = ModelFolders(tmp_path / "model", None if whole else base.model)
    rows = demonstrations(3, seed=2)
    before, after = likelihoods(base, rows), likelihoods(folders, rows)
    assert before != after
    names = {path.name for path in folders.model.iterdir()}
    assert ("model.safetensors" in names) == whole
    assert ("adapter_model.safetensors" in names) != whole
    assert "tokenizer.json" in names


@pytest.mark.parametrize("method", ["full", "last_n", "scratch", "hybrid"])
def test_whole_model_when_saved_then_pipeline_writes_the_same(
    method: str, chat_base: ModelFolders, tmp_path: Path
) -> None:
    last_n = {"train__last_n": 1} if method == "last_n" else {}
    fitted(tmp_path, chat_base, train__method=method, **last_n)
    folder = tmp_path / "model"
    write = pipeline("text-generation", model=str(folder))
    (row,) = demonstrations(1, seed=4)
    written = write(row["prompt"], max_new_tokens=12, do_sample=False, return_full_text=False)
    answer = answers(ModelFolders(folder), [row], GREEDY, seed=0)[0]
    assert written[0]["generated_text"] == answer.value
    assert AutoTokenizer.from_pretrained(folder).chat_template == WITHOUT_TAGS
    kept = json.loads((folder / "generation_config.json").read_text())
    assert kept["eos_token_id"] == tokenizer().eos_token_id
    assert str(chat_base.model) not in (folder / "config.json").read_text()


def test_last_n_when_trained_then_earlier_blocks_stay(base: ModelFolders, tmp_path: Path) -> None:
    fitted(tmp_path, base, train__method="last_n", train__last_n=1)
    before = AutoModelForCausalLM.from_pretrained(base.model).state_dict()
    after = AutoModelForCausalLM.from_pretrained(tmp_path / "model").state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("model.layers.1.") for name in moved)
    assert not any(name.startswith(("model.layers.0.", "model.embed")) for name in moved)


# peft 0.21 reads a name that transformers 5.23 has renamed.
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("quantization", ["4bit", "8bit"])
def test_quantized_base_when_trained_over_then_the_adapter_fits_the_whole_base(
    quantization: str, base: ModelFolders, tmp_path: Path
) -> None:
    language = {"quantization": quantization}
    report = fitted(tmp_path, base, train__method="qlora", train__language=language)
    assert losses(report)[-1] < losses(report)[0]
    rows = demonstrations(3, seed=2)
    folders = ModelFolders(tmp_path / "model", base.model)
    found = likelihoods(folders, rows)
    assert found != likelihoods(base, rows)
    # As anybody loads it, without this package.
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base.model), tmp_path / "model"
    )
    held = json.loads(rows[0]["example"])
    expected, _ = log_probs_by_hand(model, base.model, held["prompt"], held["answers"][0])
    assert found[0].log_prob == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_adapter_when_merged_then_the_folder_is_whole_and_the_report_says_how_far_it_moved(
    method: str, base: ModelFolders, tmp_path: Path
) -> None:
    report = fitted(tmp_path, base, train__method=method, train__language={"merge": True})
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= names
    assert not any(name.startswith("adapter") for name in names)
    assert not (tmp_path / "adapter").exists()
    (note,) = [note for note in report.notes if "merged into its base" in note]
    assert "float32" in note
    rows = demonstrations(3)
    merged = likelihoods(ModelFolders(tmp_path / "model"), rows)
    assert merged != likelihoods(base, rows)


@pytest.mark.parametrize("kind", ["sft", "kto"])
def test_adapter_when_it_is_the_base_then_training_goes_on_from_it(
    kind: str, base: ModelFolders, tmp_path: Path
) -> None:
    arguments = {"max_steps": 1, "learning_rate": 1e-9, "per_device_train_batch_size": 8}
    first = ModelFolders(tmp_path / "one" / "model", base.model)
    fitted(tmp_path / "one", base, train__method="lora")
    report = fitted(tmp_path / "two", first, kind, train__method="lora", train__arguments=arguments)
    second = ModelFolders(tmp_path / "two" / "model", base.model)
    rows = demonstrations(4, seed=2)
    found = [likelihoods(folders, rows) for folders in (base, first, second)]
    logs = [[likelihood.log_prob for likelihood in measured] for measured in found]
    assert logs[1] == pytest.approx(logs[2], abs=1e-3)
    assert logs[0] != pytest.approx(logs[1], abs=1e-1)
    assert report.trainable_parameters < 100_000


def test_long_examples_when_cut_then_the_report_says_so(base: ModelFolders, tmp_path: Path) -> None:
    report = fitted(tmp_path, base, train__arguments={"max_steps": 1}, prepare__max_length=10)
    notes = " ".join(report.notes)
    assert "of 24 training examples were cut at their end" in notes
    assert "of 6 validation examples were cut at their end" in notes


def test_validation_when_there_is_none_then_training_does_without(
    base: ModelFolders, tmp_path: Path
) -> None:
    splits = Splits(ratings(12), [], [])
    report = TASK.fit(splits, wanted(), tmp_path, base=base, progress=lambda share, doing: None)
    assert losses(report)
    assert not any("eval_loss" in entry for entry in report.history)


def test_weight_of_a_row_when_zero_then_it_teaches_nothing(
    base: ModelFolders, tmp_path: Path
) -> None:
    good = [{"prompt": f"{i}", "completion": "a"} for i in range(8)]
    other = [{"prompt": f"{i}", "completion": "zz", "_weight": 0.0} for i in range(8, 16)]
    found = []
    for name, rows in (("alone", good), ("with", good + other)):
        arguments = {"max_steps": 3, "per_device_train_batch_size": 16, "learning_rate": 0.01}
        splits = Splits(rows_of(rows), [], [])
        TASK.fit(
            splits,
            wanted(train__arguments=arguments),
            tmp_path / name,
            base=base,
            progress=lambda share, doing: None,
        )
        model = AutoModelForCausalLM.from_pretrained(tmp_path / name / "model")
        found.append(model.lm_head.weight.detach())
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


def test_killed_training_when_run_again_then_it_goes_on_to_the_same_answers(
    base: ModelFolders, tmp_path: Path
) -> None:
    arguments = {
        "max_steps": 6,
        "per_device_train_batch_size": 8,
        "save_strategy": "steps",
        "save_steps": 1,
        "eval_strategy": "steps",
        "eval_steps": 1,
    }
    changes: dict[str, Any] = {"train__method": "lora", "train__arguments": arguments}
    fitted(tmp_path / "whole", base, "kto", **changes)

    def stop(share: float, doing: str) -> None:
        if doing.startswith("step 3 "):
            os.kill(os.getpid(), signal.SIGTERM)

    splits = Splits(ratings(24), ratings(6, seed=1), [])
    with pytest.raises(Interrupted):
        TASK.fit(splits, wanted(**changes), tmp_path / "cut", base=base, progress=stop)
    assert not (tmp_path / "cut" / "model").exists()
    shutil.copytree(tmp_path / "cut", tmp_path / "other")
    report = fitted(tmp_path / "cut", base, "kto", **changes)
    assert report.resumed_from == 3
    saved_bytes = [
        (tmp_path / name / "model" / "adapter_model.safetensors").read_bytes()
        for name in ("whole", "cut")
    ]
    assert saved_bytes[0] == saved_bytes[1]
    # Another weight of a row is another run.
    rows = ratings(24)
    held = {**json.loads(rows[0]["example"]), "weight": 0.5}
    splits = Splits([{**rows[0], "example": json.dumps(held)}, *rows[1:]], splits.validation, [])
    report = TASK.fit(
        splits,
        wanted(**changes),
        tmp_path / "other",
        base=base,
        progress=lambda share, doing: None,
    )
    assert report.resumed_from is None
    assert "checkpoints of another run were removed" in " ".join(report.notes)


def test_early_stopping_when_validation_gets_worse_then_training_ends(
    base: ModelFolders, tmp_path: Path
) -> None:
    arguments = {
        "num_train_epochs": 30,
        "per_device_train_batch_size": 8,
        "learning_rate": 0.05,
        "lr_scheduler_type": "constant",
    }
    report = fitted(
        tmp_path, base, train__arguments=arguments, train__early_stopping={"patience": 2}
    )
    assert report.epochs < 30
    measured = [entry["eval_loss"] for entry in report.history if "eval_loss" in entry]
    assert report.best_metric == pytest.approx(min(measured))


def test_rows_of_two_kinds_when_joined_then_they_are_refused(
    base: ModelFolders, tmp_path: Path
) -> None:
    splits = Splits([*demonstrations(4), *ratings(4)], [], [])
    with pytest.raises(DataError, match="of several kinds") as caught:
        TASK.fit(splits, wanted(), tmp_path, base=base, progress=lambda share, doing: None)
    assert caught.value.got == "demonstration, desirable, undesirable"


def test_adapter_when_its_base_is_not_there_then_it_is_refused(
    base: ModelFolders, tmp_path: Path
) -> None:
    fitted(tmp_path, base, train__method="lora", train__arguments={"max_steps": 1})
    with pytest.raises(TrainingError, match="needs its base model beside it"):
        answers(ModelFolders(tmp_path / "model"), demonstrations(1), GREEDY, seed=0)


# Preview


def test_preview_when_made_then_prompt_and_answer_are_told_apart(base: ModelFolders) -> None:
    found = TASK.preview(preferences(4), wanted(), base)
    assert found.kind == "preference"
    assert len(found.answers) == 2
    for answer in found.answers:
        assert [part.learned for part in answer] == [False, True]
        assert answer[0].text.startswith("0: ")
    assert found.answers[0][1].text.endswith("!<|im_end|>")


def test_preview_when_a_sample_has_thumbs_of_one_kind_then_nothing_is_wrong(
    base: ModelFolders,
) -> None:
    good = [row for row in ratings(8) if row["label"] == "desirable"]
    assert TASK.preview(good, wanted(), base).kind == "desirable"


def test_preview_when_the_loss_is_of_another_kind_then_it_is_refused(base: ModelFolders) -> None:
    with pytest.raises(TrainingError, match="cannot be learned with this loss") as caught:
        TASK.preview(ratings(4), wanted(train__language={"loss_type": "ipo"}), base)
    assert caught.value.do == "use kto, apo_zero_unpaired"


def test_preview_when_nothing_is_left_to_learn_then_it_is_refused(base: ModelFolders) -> None:
    with pytest.raises(DataError, match="nothing left to learn"):
        TASK.preview(demonstrations(4), wanted(prepare__max_length=3), base)


def test_preview_when_dialogues_have_no_template_then_it_is_refused(base: ModelFolders) -> None:
    rows = rows_of([{"messages": [{"role": "assistant", "content": "a"}]}])
    with pytest.raises(DataError, match="the tokenizer has no chat template"):
        TASK.preview(rows, wanted(), base)


# The recipe


def messages(base: ModelFolders | None = None, **changes: Any) -> list[str]:
    return [problem.message for problem in TASK.recipe_problems(wanted(**changes), base)]


LANGUAGE_FAULTS = [
    ({"merge": True}, {}, "train.language.merge: changes nothing under method full"),
    ({"quantization": "4bit"}, {}, "train.language.quantization: changes nothing"),
    ({"label_smoothing": 0.1}, {}, "train.language.label_smoothing: changes nothing but in"),
    ({"loss_type": "robust"}, {}, "train.language.label_smoothing: robust needs the share"),
    ({"loss_type": "nll", "beta": 0.2}, {}, "train.language.beta: changes nothing in the loss"),
    ({"loss_type": "ipo", "desirable_weight": 2.0}, {}, "train.language.desirable_weight: "),
    ({"loss_type": "nll", "undesirable_weight": 2.0}, {}, "train.language.undesirable_weight: "),
    ({"loss_type": "kto", "train_on": "all"}, {}, "train.language.train_on: changes nothing"),
    (
        {"loss_type": "kto"},
        {"train__arguments": {"per_device_train_batch_size": 1}},
        "train.arguments.per_device_train_batch_size: kto needs batches of two",
    ),
]


@pytest.mark.parametrize(("language", "changes", "message"), LANGUAGE_FAULTS)
def test_language_setting_when_wrong_or_idle_then_it_is_named(
    language: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    (found,) = messages(train__language=language, **changes)
    assert found.startswith(message)


def test_faults_when_many_then_all_are_named_at_once() -> None:
    found = messages(
        train__method="head",
        train__language={"merge": True, "label_smoothing": 0.1},
        train__arguments={"label_smoothing_factor": 0.1},
        train__class_weights=True,
        prepare__augment=["flip"],
        evaluate__json_schema={"type": "object"},
        evaluate__metrics=["accuracy"],
        evaluate__primary="accuracy",
    )
    for key in (
        "train.method",
        "train.language.merge",
        "train.language.label_smoothing",
        "train.arguments.label_smoothing_factor: changes nothing in text-generation; remove it",
        "train.class_weights",
        "prepare.augment",
        "evaluate.json_schema",
        "evaluate.metrics",
    ):
        assert [m for m in found if m.startswith(key)], key


def test_json_schema_metric_when_there_is_no_schema_then_it_is_named() -> None:
    found = messages(evaluate__metrics=["json_schema"], evaluate__primary="json_schema")
    assert [m for m in found if m.startswith("evaluate.json_schema: the metric json_schema needs")]


def test_base_model_when_none_is_named_then_it_is_needed() -> None:
    assert [m for m in messages(base_model=None) if m.startswith("base_model: method full of")]


@pytest.mark.parametrize("method", ["full", "lora", "qlora", "scratch"])
def test_base_model_when_it_fits_then_nothing_is_wrong(method: str, base: ModelFolders) -> None:
    found = messages(base, train__method=method, prepare__max_length=96)
    assert found == []


def test_lengths_when_beyond_the_model_then_they_are_named(base: ModelFolders) -> None:
    found = messages(base, prepare__max_length=97, evaluate__generation={"max_new_tokens": 96})
    assert "prepare.max_length: 97 tokens, but the base model takes 96" in found
    assert [m for m in found if m.startswith("evaluate.generation.max_new_tokens: 96 tokens leave")]


def test_lora_targets_when_unknown_then_they_are_named(base: ModelFolders) -> None:
    found = messages(base, train__method="lora", train__lora={"target_modules": ["dense"]})
    assert [m for m in found if "'dense' matches no module of the model" in m]


def test_tokenizer_when_missing_then_it_is_named(base: ModelFolders, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(base.model, folder, ignore=shutil.ignore_patterns("tokenizer*"))
    found = messages(ModelFolders(folder))
    assert "base_model: has no tokenizer; name a model repo that ships one" in found
    (folder / "tokenizer.json").write_text("{")
    assert [m for m in messages(ModelFolders(folder)) if "tokenizer.json cannot be used" in m]


def test_base_model_when_it_writes_no_text_then_it_is_named(
    text_base_dir: Path,
) -> None:
    config = json.loads((text_base_dir / "config.json").read_text())
    folder = text_base_dir.parent / "vision"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "vit"}))
    found = messages(ModelFolders(folder))
    assert [m for m in found if m.startswith("base_model: config.json cannot be used")]


def test_adapter_base_when_the_method_trains_none_then_both_faults_are_named(
    base: ModelFolders, tmp_path: Path
) -> None:
    folders = ModelFolders(tmp_path, base.model)
    found = messages(folders, train__method="full")
    assert [m for m in found if m.startswith("train.method: the base model is an adapter")]
    found = messages(folders, train__method="lora", train__lora={"r": 4})
    assert [m for m in found if m.startswith("train.lora: changes nothing")]
