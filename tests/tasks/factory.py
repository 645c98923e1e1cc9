"""Base models of a few thousand parameters as folders, and rows that they can learn."""

import io
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    GenerationConfig,
    HubertConfig,
    HubertForSequenceClassification,
    PreTrainedTokenizerFast,
    ResNetConfig,
    ResNetForImageClassification,
    SeamlessM4TFeatureExtractor,
    ViTImageProcessorPil,
    Wav2Vec2BertConfig,
    Wav2Vec2BertForCTC,
    Wav2Vec2BertModel,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2ForSequenceClassification,
    Wav2Vec2Model,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForAudioClassification,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from hub_trainer.answers.span_reading import tagged
from hub_trainer.recipe import Recipe
from hub_trainer.sounds import to_wav
from hub_trainer.tasks import Splits
from tests.sounds import encoded as sound_file
from tests.sounds import tone

COLORS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 40, 230)}
WORDS = ["the", "a", "card", "is", "my", "where", "lost", "please", *COLORS]
LABELS = sorted(COLORS)

RECIPE = """
task: {task}
base_model: org/base
collect: {{datasets: [org/data]}}
train: {{seed: 1}}
evaluate: {{metrics: [accuracy, f1_macro], primary: accuracy}}
publish: {{repo_id: org/model}}
"""


def recipe(task: str, **changes: Any) -> Recipe:
    """A recipe of the task; `changes` are dotted keys with `__` for the dot."""
    content = yaml.safe_load(RECIPE.format(task=task))
    for key, value in changes.items():
        *path, last = key.split("__")
        section = content
        for name in path:
            section = section.setdefault(name, {})
        section[last] = value
    return Recipe.model_validate(content)


def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=24,
    )


def text_base(folder: Path, labels: Sequence[str] | None = None) -> Path:
    """A BERT encoder without a head, or a classifier with one."""
    config = BertConfig(
        vocab_size=4 + len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=24,
        initializer_range=0.2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    torch.manual_seed(0)
    if labels is None:
        model: Any = BertModel(config)
    else:
        config.id2label = dict(enumerate(labels))
        config.label2id = {name: index for index, name in enumerate(labels)}
        model = BertForSequenceClassification(config)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def image_base(folder: Path) -> Path:
    """A small ResNet that knows 2 other labels, with its processor."""
    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=2
    )
    torch.manual_seed(0)
    ResNetForImageClassification(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)
    return folder


def text_rows(count: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Texts of 2 to 12 words, one of which is the label."""
    rng = random.Random(seed)
    rows = []
    for index in range(count):
        label = LABELS[index % 3]
        words = rng.choices(WORDS[:8], k=rng.randint(1, 11))
        words.insert(rng.randint(0, len(words)), label)
        rows.append({"text": " ".join(words), "label": label, "_row_id": f"{seed}-{index}"})
    return rows


def tagged_rows(count: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Texts in which each colour is a span, and so is "my card"; as tasks see them."""
    rng = random.Random(seed)
    rows = []
    others = [word for word in WORDS if word not in ("my", "card")]
    for index in range(count):
        words = rng.choices([*others, *COLORS], k=rng.randint(3, 12))
        place = rng.randint(0, len(words))
        words[place:place] = ["my", "card"]
        spans = [(n, n + 1, "color") for n, word in enumerate(words) if word in COLORS]
        value = tagged(words, [*spans, (place, place + 2, "thing")])
        rows.append({"text": " ".join(words), "tags": value, "_row_id": f"{seed}-{index}"})
    return rows


def picture(label: str, *, rng: random.Random, size: tuple[int, int] = (20, 16)) -> Image.Image:
    noise = tuple(max(0, min(255, band + rng.randint(-30, 30))) for band in COLORS[label])
    image = Image.new("RGB", size, noise)
    image.paste("black", (0, 0, 2, 2))  # a picture of one colour alone shows nothing
    return image


def encoded(image: Image.Image, file_format: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, file_format)
    return file.getvalue()


def image_rows(count: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Pictures of one colour with a black corner, in PNG and JPEG."""
    rng = random.Random(seed)
    rows = []
    for index in range(count):
        label = LABELS[index % 3]
        content = encoded(picture(label, rng=rng), "PNG" if index % 2 else "JPEG")
        rows.append({"image": content, "label": label, "_row_id": f"{seed}-{index}"})
    return rows


def sound_base(folder: Path, kind: str = "wav2vec2") -> Path:
    """A small speech model that knows 2 other labels, with its feature extractor.

    Of waves wav2vec2, as its base is, with a group norm and without a mask, or as its large one,
    with both otherwise, and HuBERT; of spectrograms AST and Whisper.
    """
    torch.manual_seed(0)
    if kind == "ast":
        sides = {"num_mel_bins": 16, "max_length": 64}
        config: Any = ASTConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            patch_size=8, frequency_stride=8, time_stride=8, num_labels=2, **sides,
        )  # fmt: skip
        ASTForAudioClassification(config).save_pretrained(folder)
        ASTFeatureExtractor(sampling_rate=8_000, **sides).save_pretrained(folder)
        return folder
    if kind == "whisper":
        config = WhisperConfig(
            num_mel_bins=16, d_model=16, encoder_layers=2, encoder_attention_heads=2,
            encoder_ffn_dim=32, max_source_positions=50, classifier_proj_size=16, num_labels=2,
            decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=16,
        )  # fmt: skip
        WhisperForAudioClassification(config).save_pretrained(folder)
        WhisperFeatureExtractor(feature_size=16, chunk_length=1).save_pretrained(folder)
        return folder
    layers: dict[str, Any] = {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 32, "conv_dim": (8, 16), "conv_kernel": (10, 8),
        "conv_stride": (8, 8), "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2,
        "classifier_proj_size": 16, "num_labels": 2, "layerdrop": 0.0,
    }  # fmt: skip
    has_mask = kind == "wav2vec2-mask"
    layers["feat_extract_norm"] = "layer" if has_mask else "group"
    if kind == "hubert":
        HubertForSequenceClassification(HubertConfig(**layers)).save_pretrained(folder)
    else:
        Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**layers)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(sampling_rate=8_000, return_attention_mask=has_mask).save_pretrained(
        folder
    )
    return folder


def sound_rows(count: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Tones of 0.3 to 0.6 seconds, low, higher or high, in WAV and FLAC."""
    rng = random.Random(seed)
    pitches = dict(zip(LABELS, (200, 700, 1_800), strict=True))
    rows = []
    for index in range(count):
        label = LABELS[index % 3]
        samples = tone(rng.uniform(0.3, 0.6), pitch=pitches[label] * rng.uniform(0.9, 1.1))
        content = sound_file(samples, kind="WAV" if index % 2 else "FLAC")
        rows.append({"audio": content, "label": label, "_row_id": f"{seed}-{index}"})
    return rows


def table_rows(count: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Numbers, a boolean and a category, with gaps; the label follows from two of them."""
    rng = random.Random(seed)
    rows = []
    for index in range(count):
        size, color = rng.uniform(0, 10), rng.choice(["red", "green", "blue"])
        rows.append(
            {
                "size": None if rng.random() < 0.05 else size,
                "legs": rng.randint(2, 4),
                "wild": rng.choice([True, False, None]),
                "color": None if rng.random() < 0.05 else color,
                "label": "big" if size > 5 or color == "red" else "small",
                "_row_id": f"{seed}-{index}",
            }
        )
    return rows


def splits(rows: Sequence[dict[str, Any]], *, num_validation: int = 12) -> Splits:
    names = sorted({row["label"] for row in rows})
    return Splits(rows[num_validation:], rows[:num_validation], names)


TONES = {"lo": 300.0, "hi": 1_200.0, "zoom": 2_700.0}
RATE = 16_000


def clip(words: Sequence[str], *, rng: random.Random, rate: int = RATE) -> bytes:
    """A tone for each word, of about a tenth of a second, with pauses and a little noise."""
    pieces = []
    for word in words:
        pieces.append(np.zeros(int(rate * rng.uniform(0.03, 0.06))))
        time = np.arange(int(rate * rng.uniform(0.08, 0.12))) / rate
        pieces.append(0.5 * np.sin(2 * np.pi * TONES[word] * time))
    samples = np.concatenate([*pieces, np.zeros(int(rate * 0.04))])
    noise = np.random.default_rng(rng.randrange(2**32)).normal(0, 0.01, len(samples))
    return to_wav((samples + noise).astype(np.float32), rate)


def speech_rows(count: int, *, seed: int = 0, longest: int = 4) -> list[dict[str, Any]]:
    """Clips of one to four words, which are tones, at two sampling rates."""
    rng, rows = random.Random(seed), []
    for index in range(count):
        words = rng.choices(sorted(TONES), k=rng.randint(1, longest))
        audio = clip(words, rng=rng, rate=RATE if index % 2 else 8_000)
        rows.append({"audio": audio, "text": " ".join(words), "_row_id": f"{seed}-{index}"})
    return rows


def ctc_base(
    folder: Path, letters: str | None = None, *, bert: bool = False, masked: bool = False
) -> Path:
    """A model of letters per frame: of waves, or of spectra; without letters it is a body alone."""
    sizes = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 64, "layerdrop": 0.0, "apply_spec_augment": masked,
        "vocab_size": 3 + len(letters or ""), "pad_token_id": 0, "ctc_loss_reduction": "mean",
        "hidden_dropout": 0.0, "attention_dropout": 0.0, "feat_proj_dropout": 0.0,
        "activation_dropout": 0.0, "final_dropout": 0.0,
    }  # fmt: skip
    torch.manual_seed(0)
    if bert:
        config: Any = Wav2Vec2BertConfig(
            **sizes, feature_projection_input_dim=160, conv_depthwise_kernel_size=7,
            conformer_conv_dropout=0.0, position_embeddings_type=None,
        )  # fmt: skip
        body, headed, extractor = (
            Wav2Vec2BertModel,
            Wav2Vec2BertForCTC,
            SeamlessM4TFeatureExtractor(),
        )
    else:
        config = Wav2Vec2Config(
            **sizes, conv_dim=(16, 16, 16), conv_kernel=(20, 8, 4), conv_stride=(10, 8, 4),
            feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True,
            num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
        )  # fmt: skip
        body, headed = Wav2Vec2Model, Wav2Vec2ForCTC
        extractor = Wav2Vec2FeatureExtractor(return_attention_mask=True)
    extractor.save_pretrained(folder)
    if letters is None:
        body(config).save_pretrained(folder)
        return folder
    headed(config).save_pretrained(folder)
    vocabulary = {"<pad>": 0, "<unk>": 1, "|": 2, **{s: n + 3 for n, s in enumerate(letters)}}
    path = folder / "vocab.json"
    path.write_text(json.dumps(vocabulary))
    Wav2Vec2CTCTokenizer(
        str(path), bos_token=None, eos_token=None, unk_token="<unk>", pad_token="<pad>"
    ).save_pretrained(folder)
    return folder


def whisper_base(folder: Path, *, multilingual: bool = False) -> Path:
    """A Whisper that hears one second, with a tokenizer of bytes."""
    tongues = [f"<|{code}|>" for code in LANGUAGES]
    signs = ["<|endoftext|>", "<|startoftranscript|>", *tongues, "<|translate|>",
             "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>",
             "<|notimestamps|>"]  # fmt: skip
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate(letters)}
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": signs})
    tokenizer.pad_token = "<|endoftext|>"
    end, start = (tokenizer.convert_tokens_to_ids(sign) for sign in signs[:2])
    config = WhisperConfig(
        vocab_size=len(tokenizer), d_model=32, encoder_layers=2, decoder_layers=2,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=64,
        decoder_ffn_dim=64, max_source_positions=50, max_target_positions=32, dropout=0.0,
        bos_token_id=end, eos_token_id=end, pad_token_id=end, decoder_start_token_id=start,
        suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(config)
    of = tokenizer.convert_tokens_to_ids
    model.generation_config = GenerationConfig(
        bos_token_id=end, eos_token_id=end, pad_token_id=end, decoder_start_token_id=start,
        max_length=32, is_multilingual=multilingual, no_timestamps_token_id=of("<|notimestamps|>"),
        **({"lang_to_id": {sign: of(sign) for sign in tongues},
            "task_to_id": {"transcribe": of("<|transcribe|>"), "translate": of("<|translate|>")}}
           if multilingual else {}),
    )  # fmt: skip
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(chunk_length=1).save_pretrained(folder)
    return folder
