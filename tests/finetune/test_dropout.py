"""Dropout by the recipe: which keys of a config it is written into, and who has none."""

from pathlib import Path

import pytest
from torch import nn
from transformers import (
    AutoConfig,
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    EfficientNetConfig,
    GPT2Config,
    ModernBertConfig,
    PretrainedConfig,
    ResNetConfig,
    ViTConfig,
    Wav2Vec2Config,
)

from hub_trainer.errors import RecipeError
from hub_trainer.finetune.classifier import labelled_config
from hub_trainer.finetune.dropout import (
    dropout_keys,
    dropout_notes,
    dropout_problems,
    set_dropout,
)
from hub_trainer.recipe import TrainSection

TOLD = "train.dropout: a model of ResNet has no dropout; remove it, or use weight_decay"


@pytest.mark.parametrize(
    ("config", "keys"),
    [
        (BertConfig(), {"hidden_dropout_prob", "attention_probs_dropout_prob"}),
        (DistilBertConfig(), {"dropout", "attention_dropout", "qa_dropout", "seq_classif_dropout"}),
        (ViTConfig(), {"hidden_dropout_prob", "attention_probs_dropout_prob", "pooler_dropout"}),
        (EfficientNetConfig(), {"dropout_rate"}),
        (GPT2Config(), {"resid_pdrop", "embd_pdrop", "attn_pdrop", "summary_first_dropout"}),
        (ResNetConfig(), set()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_keys_when_asked_of_a_config_then_are_its_dropouts(
    config: PretrainedConfig, keys: set[str]
) -> None:
    assert set(dropout_keys(config)) <= keys | {"pooler_dropout"}
    assert set(dropout_keys(config)) >= keys - {"pooler_dropout"}


@pytest.mark.parametrize("kind", [ModernBertConfig, Wav2Vec2Config])
def test_keys_when_whole_layers_are_dropped_then_those_stay(kind: type[PretrainedConfig]) -> None:
    config = kind()
    before = getattr(config, "layerdrop", None)
    set_dropout(config, 0.3)
    assert {getattr(config, key) for key in dropout_keys(config)} == {0.3}
    assert "attention_dropout" in dropout_keys(config)
    assert getattr(config, "layerdrop", None) == before


def test_model_when_made_of_the_config_then_drops_out_so_much(tmp_path: Path) -> None:
    BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
    ).save_pretrained(tmp_path)
    config = labelled_config(tmp_path, ["a", "b"], dropout=0.35)
    model = BertForSequenceClassification(config)
    layers = [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
    assert len(layers) >= 4
    assert set(layers) == {0.35}
    assert dropout_notes(config, 0.35) == [
        "dropout 0.35 by train.dropout: hidden_dropout_prob, attention_probs_dropout_prob"
    ]
    usual = labelled_config(tmp_path, ["a", "b"])
    assert usual.hidden_dropout_prob == AutoConfig.from_pretrained(tmp_path).hidden_dropout_prob
    assert dropout_notes(usual, None) == []


def test_config_when_it_has_none_then_says_so() -> None:
    with pytest.raises(RecipeError) as caught:
        set_dropout(ResNetConfig(), 0.1)
    assert [problem.message for problem in caught.value.problems] == [TOLD]
    train = TrainSection(dropout=0.1)
    assert [problem.message for problem in dropout_problems(train, ResNetConfig())] == [TOLD]
    assert dropout_problems(train, BertConfig()) == []
    assert dropout_problems(TrainSection(), ResNetConfig()) == []
