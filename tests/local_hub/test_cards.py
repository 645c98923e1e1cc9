import pytest

from hub_trainer.local_hub.cards import parse_metadata, read_card, validate_card


def card(yaml: str) -> str:
    return f"---\n{yaml}\n---\n# Title\n"


def test_card_when_whole_then_tags_for_every_field() -> None:
    readme = card(
        "license: mit\nlanguage: [en]\ndatasets: [a/b]\nbase_model: c/d\npipeline_tag: fill-mask\n"
        "tags: [x]\nmodel-index: [{name: m, results: []}]"
    )
    found = read_card("model", readme, ["model.safetensors"], {"model_type": "bert"})
    assert found.tags == [
        "transformers",
        "safetensors",
        "bert",
        "fill-mask",
        "x",
        "en",
        "dataset:a/b",
        "base_model:c/d",
        "base_model:finetune:c/d",
        "license:mit",
        "model-index",
        "region:us",
    ]
    assert found.facts["library_name"] == "transformers"


def test_card_when_adapter_then_peft_and_its_relation() -> None:
    readme = card("base_model: c/d\nbase_model_relation: adapter")
    found = read_card("model", readme, ["adapter_config.json", "m.gguf"], {})
    assert {"peft", "gguf", "base_model:adapter:c/d"} <= set(found.tags)


def test_card_when_dataset_then_prefixed_tags() -> None:
    readme = card("task_categories: [text-classification]\nlicense: [mit, other]\ntags: [t]")
    found = read_card("dataset", readme, [], {})
    assert found.tags[:2] == ["task_categories:text-classification", "license:mit"]


def test_card_when_space_then_sdk_and_what_it_uses() -> None:
    found = read_card("space", card("sdk: gradio\nmodels: [a/b]"), [], {})
    assert (found.facts["sdk"], found.facts["models"]) == ("gradio", ["a/b"])


@pytest.mark.parametrize(
    "readme",
    [None, "", "no metadata", "---\n", card("["), card("- a\n- b"), card("a: &x [1]\nb: *x")],
)
def test_metadata_when_missing_or_broken_then_empty(readme: str | None) -> None:
    assert parse_metadata(readme or "") == {}


def test_metadata_when_dates_and_infinities_then_what_json_can_say() -> None:
    assert parse_metadata(card("d: 2024-01-02\nn: .nan\n1: x")) == {
        "d": "2024-01-02",
        "n": "nan",
        "1": "x",
    }


@pytest.mark.parametrize(
    ("readme", "message"),
    [
        (card("license: asdf"), '"license" must be one of ['),
        (card("license: [mit, asdf]"), '"license" must be one of ['),
        (card("tags: 5"), '"tags" must be a string or an array of strings'),
        (card("pipeline_tag: [a]"), '"pipeline_tag" must be a string'),
        (card("model-index: foo"), '"model-index" must be an array'),
        ("\n" + card("model-index: foo"), '"model-index" must be an array'),
        (card("a: ["), "Invalid YAML metadata"),
        (card("- a"), "must be a mapping"),
        (card("a: &x [1]\nb: *x"), "aliases are not allowed"),
        (card("a: '" + "x" * 1_000_001 + "'"), "longer than 1000000"),
        (card("a: " + "[" * 5000), "Invalid YAML metadata"),
    ],
)
def test_card_when_wrong_then_error_says_what(readme: str, message: str) -> None:
    errors, warnings = validate_card(readme)
    assert any(message in error for error in errors), errors
    assert warnings == []


def test_card_when_without_metadata_then_a_warning() -> None:
    errors, warnings = validate_card("# Title")
    assert (errors, "empty or missing yaml metadata" in warnings[0]) == ([], True)


def test_validate_yaml_when_text_is_wanted_then_text(http: object) -> None:
    answer = http.post(  # type: ignore[attr-defined]
        "/api/validate-yaml",
        json={"content": card("license: asdf"), "repoType": "model"},
        headers={"Accept": "text/plain"},
    )
    assert answer.status_code == 400
    assert answer.text.startswith('- Error: "license" must be one of')
