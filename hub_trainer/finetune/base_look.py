"""A base model's small files, judged before they are believed.

Each file is a stranger's: a config can describe ten million layers, a template can loop for ever.
`look_at_base` is meant for a child with limits (`hub_trainer.base_models`), where each step names
the file that it reads.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoModelForAudioClassification,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES
from transformers.utils import logging as transformers_logging

from hub_trainer.finetune.auto_classes import AutoModelForSpeechRecognition, writes_words
from hub_trainer.finetune.model_folder import (
    CONFIG,
    PROCESSOR_FILES,
    TOKENIZER_FILES,
    code_faults,
    has_any,
    read_header,
)
from hub_trainer.finetune.positions import counts_behind_padding
from hub_trainer.finetune.sentence_pairs import (
    MODULES,
    AutoModelForSentenceSimilarity,
    layout_faults,
)
from hub_trainer.finetune.speech_writing import KNOWN_TYPE
from hub_trainer.sandbox import OutOfTime, step
from hub_trainer.sounds import MAX_RATE, MIN_RATE

Found = TypeVar("Found")
OF_TEXTS = (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoModelForSentenceSimilarity,
)
"""Classes that read texts in batches: to classify them or their tokens, or to embed them."""
NO_CLASS = re.compile(
    r"Unrecognized configuration class <class '[\w.]*?(\w+)Config'> for this kind of AutoModel: "
    r"(\w+)"
)
STEP_SECONDS = 4.0
"""Of CPU, for each step."""
TEMPLATE_SECONDS = 1.5
MAX_PARAMETERS = 10**13
MAX_LAYERS = 2_000
MAX_LABELS = 1_000_000
MAX_TEMPLATE = 200_000
MAX_RENDERED = 1_000_000
"""Characters that a template may make of a dialogue of two short turns."""
FLOATS = ("F64", "F32", "F16", "BF16")
PROBES = (
    "Hello, world! 1234567890 ".rstrip(),
    *(sign * 2_000 + "!" for sign in "a 1\n_-."),
)
"""Texts that a tokenizer must take in no time; bad expressions choke on runs of one sign."""
PROBE_SIZE = (48, 64)
DIALOGUES: tuple[list[dict[str, str]], ...] = (
    [{"role": "user", "content": "Hello"}],
    [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello!"}],
    [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}],
)


@dataclass
class BaseLook:
    """What was found in a base model's folder, and what could be built from it."""

    faults: list[str]
    model: Any = None
    """On the meta device, without memory; None where a fault came before it."""
    tokenizer: Any = None

    def attempt(self, reading: str, seconds: float, find: Callable[[], Found]) -> Found | None:
        """What `find` finds, or None and a fault that begins with what was read."""
        try:
            with step(reading, cpu_seconds=seconds):
                return find()
        except OutOfTime:
            why = f"takes more than {seconds:g} s of a processor; nothing of its kind needs that"
        except MemoryError:
            why = "needs more memory than may be used to look at it"
        except RecursionError:
            why = "is nested too deeply"
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of native code is no Exception
            told = " ".join(str(error).split()) or type(error).__name__
            unknown = NO_CLASS.match(told)
            if unknown:
                told = (
                    f"transformers has no {unknown[2]} of {unknown[1]}; name a base model of "
                    "another kind, or another task"
                )
            why = f"cannot be used: {told[:300]}"
        self.faults.append(f"{reading} {why}")
        return None


def look_at_base(auto_class: Any, model_dir: Path, base_dir: Path | None = None) -> BaseLook:
    """Every fault of the folder, or of an adapter's folder and its base's, for this class."""
    look = BaseLook([])
    folder = base_dir or model_dir
    for each in {model_dir, folder}:
        _look_at_json(look, each)
    if not (folder / CONFIG).exists():
        look.faults.append(f"has no {CONFIG}; name a model repo of the transformers library")
    if look.faults:
        return look
    look.faults += config_faults(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
    if look.faults:
        return look
    look.model = look.attempt(CONFIG, STEP_SECONDS, lambda: meta_model(auto_class, folder))
    if look.model is not None:
        _look_at_use(look, auto_class, folder)
    if auto_class is AutoModelForImageClassification:
        _look_at_processor(look, folder, PICTURES)
    elif auto_class is AutoModelForAudioClassification:
        _look_at_processor(look, folder, SOUNDS)
    elif auto_class is AutoModelForSpeechRecognition:
        _look_at_hearing(look, folder)
    else:
        own = base_dir is None or has_any(model_dir, TOKENIZER_FILES)
        _look_at_tokenizer(look, model_dir if own else folder)
        needs_padding = auto_class in OF_TEXTS
        if (
            needs_padding
            and look.tokenizer
            and not (look.tokenizer.pad_token or look.tokenizer.eos_token)
        ):
            look.faults.append(
                "tokenizer_config.json names neither a padding token nor an end token; batches of"
                " texts need one, set pad_token there"
            )
    return look


def _look_at_use(look: BaseLook, auto_class: Any, folder: Path) -> None:
    """Whether a model that can be built is one for what the class does."""
    if auto_class is AutoModelForCausalLM:
        look.faults += writing_faults(look.model)
    if auto_class is AutoModelForSentenceSimilarity:
        look.faults += embedding_faults(look.model)
        look.faults += look.attempt(MODULES, STEP_SECONDS, lambda: layout_faults(folder)) or []


def config_faults(config: Mapping[str, Any]) -> list[str]:
    """What in a config says that the model cannot be trained here."""
    faults = []
    kind = config.get("model_type")
    quantized = config.get("quantization_config") or config.get("compression_config")
    if not isinstance(kind, str):
        faults.append(f"{CONFIG} names no model_type; it is no model of the transformers library")
    elif kind not in CONFIG_MAPPING:
        faults.append(
            f"{CONFIG} has the model_type {kind!r}, which the installed transformers does not know;"
            " name a model of a type that it does, code of a repo is never run"
        )
    if quantized:
        how = quantized.get("quant_method") if isinstance(quantized, dict) else None
        faults.append(
            f"{CONFIG} says that its weights are stored in few bits ({how or 'quantised'}); name"
            " the model in full precision, train.method qlora makes it small by itself"
        )
    for key, value in _numbers(config):
        name = key.rsplit(".", 1)[-1]
        if name.endswith(("layers", "n_layer", "depth")) and not 0 <= value <= MAX_LAYERS:
            faults.append(f"{CONFIG}: {key} is {value:,}; no model has over {MAX_LAYERS:,}")
        if name == "num_labels" and value > MAX_LABELS:
            faults.append(f"{CONFIG}: {key} is {value:,}; no model has over {MAX_LABELS:,}")
        if name == "vocab_size" and value < 1:
            faults.append(f"{CONFIG}: {key} is {value:,}; a model knows at least one token")
    return faults


def _numbers(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, int]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{key}.")
        elif isinstance(value, int) and not isinstance(value, bool):
            yield f"{prefix}{key}", value


def _look_at_json(look: BaseLook, folder: Path) -> None:
    """The settings files are JSON objects; the tokenizer's own file is left to its reader."""
    for path in sorted(folder.glob("*.json")):
        if path.name not in ("tokenizer.json", "vocab.json"):
            look.attempt(path.name, STEP_SECONDS, partial(_read_json, path))
    look.faults += look.attempt(CONFIG, STEP_SECONDS, lambda: code_faults(folder)) or []


def _read_json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def meta_model(auto_class: Any, folder: Path) -> nn.Module:
    """The model that a folder's config describes, without memory. Raises what transformers does."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    if auto_class in (*OF_TEXTS, AutoModelForImageClassification):
        config.num_labels = 2
    transformers_logging.set_verbosity_error()
    with torch.device("meta"):
        model = auto_class.from_config(config, trust_remote_code=False)
    count = sum(parameter.numel() for parameter in model.parameters())
    if not 0 < count <= MAX_PARAMETERS:
        raise ValueError(f"it describes {count:,} parameters")
    built: nn.Module = model
    return built


# Texts


def writing_faults(model: Any) -> list[str]:
    """Why a model that can be built as one that writes would not learn to."""
    config = model.config
    both_ways = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if both_ways and not getattr(config, "is_decoder", False):
        return [
            f"{CONFIG} describes an encoder ({config.model_type}), which sees the words that it"
            " should learn to write; name a model that was made to write, as llama or gpt2"
        ]
    if counts_behind_padding(model):
        return [
            f"{CONFIG} describes a model that counts positions from behind the padding token's"
            f" ({config.model_type}); texts are packed with positions from 0, so it would learn"
            " at wrong ones; name another that writes, as llama or gpt2"
        ]
    return []


def embedding_faults(model: Any) -> list[str]:
    """Why a model that can be built would give no embedding of a text."""
    if not getattr(model.config, "is_encoder_decoder", False):
        return []
    return [
        f"{CONFIG} describes an encoder with a decoder ({model.config.model_type}), which gives no"
        " vectors of a text alone; name an encoder, as bert or mpnet"
    ]


def _look_at_tokenizer(look: BaseLook, folder: Path) -> None:
    if not has_any(folder, TOKENIZER_FILES):
        look.faults.append("has no tokenizer; name a model repo that ships one")
        return
    name = next(name for name in TOKENIZER_FILES if (folder / name).exists())
    options = {"trust_remote_code": False, "local_files_only": True}
    look.tokenizer = look.attempt(
        name, STEP_SECONDS, lambda: AutoTokenizer.from_pretrained(folder, **options)
    )
    if look.tokenizer is None:
        return
    look.attempt(name, STEP_SECONDS, lambda: [look.tokenizer(text) for text in PROBES])
    if look.model is not None:
        found = look.attempt(name, STEP_SECONDS, lambda: token_faults(look.tokenizer, look.model))
        look.faults += [f"{name}: {fault}" for fault in found or []]
    _look_at_templates(look, folder)


def token_faults(tokenizer: Any, model: Any) -> list[str]:
    """Tokens, added ones too, whose ids lie beyond the model's embeddings."""
    size = len(model.get_input_embeddings().weight)
    known = {**tokenizer.get_vocab(), **tokenizer.get_added_vocab()}
    beyond = sorted((index, token) for token, index in known.items() if index >= size)
    if not beyond:
        return []
    named = ", ".join(f"{token!r} has the id {index:,}" for index, token in beyond[:3])
    more = f" and {len(beyond) - 3:,} more lie beyond" if len(beyond) > 3 else ""
    do = "name a revision whose embeddings were made larger, or take the token out"
    return [f"{named}{more}, but the model has {size:,} embeddings, for ids below {size:,}; {do}"]


def _look_at_templates(look: BaseLook, folder: Path) -> None:
    from jinja2 import TemplateSyntaxError

    templates = look.tokenizer.chat_template or {}
    named = templates if isinstance(templates, dict) else {"default": templates}
    file = "chat_template.jinja"
    where = file if (folder / file).exists() else "tokenizer_config.json"
    for name, template in named.items():
        reading = f"{where}: the chat template" + (f" {name}" if name != "default" else "")
        if len(template) > MAX_TEMPLATE:
            look.faults.append(f"{reading} has {len(template):,} characters")
            continue

        def render(template: str = template) -> int:
            return sum(_rendered_size(look.tokenizer, one, template) for one in DIALOGUES)

        size = None
        try:
            size = look.attempt(reading, TEMPLATE_SECONDS, render)
        except TemplateSyntaxError as error:
            look.faults.append(f"{reading} is no template: {error}")
        if size and size > MAX_RENDERED:
            look.faults.append(f"{reading} makes {size:,} characters of a dialogue of two words")


def _rendered_size(tokenizer: Any, dialogue: list[dict[str, str]], template: str) -> int:
    """Characters of a dialogue; none where the template does not take its roles."""
    from jinja2 import TemplateError, TemplateSyntaxError

    try:
        asks = dialogue[-1]["role"] == "user"
        return len(
            tokenizer.apply_chat_template(
                dialogue, chat_template=template, tokenize=False, add_generation_prompt=asks
            )
        )
    except TemplateSyntaxError:
        raise
    except TemplateError:
        return 0


# Pictures and sounds


@dataclass(frozen=True)
class _Processor:
    """What makes a model's inputs of pictures or sounds, and a try of it."""

    name: str
    plural: str
    processed: Callable[[Path], dict[str, torch.Tensor]]


def _look_at_processor(look: BaseLook, folder: Path, processor: _Processor) -> None:
    if not has_any(folder, PROCESSOR_FILES):
        look.faults.append(f"has no {processor.name} (preprocessor_config.json)")
        return
    name = next(name for name in PROCESSOR_FILES if (folder / name).exists())
    inputs = look.attempt(name, STEP_SECONDS, lambda: processor.processed(folder))
    if inputs is None or look.model is None:
        return
    try:
        with step(f"{name} and {CONFIG}", cpu_seconds=STEP_SECONDS), torch.no_grad():
            look.model.eval()(**{key: value.to("meta") for key, value in inputs.items()})
    except (NotImplementedError, OutOfTime, MemoryError):
        return  # says nothing of the model: it was only asked without memory
    except (ValueError, RuntimeError) as error:
        sides = next(iter(inputs.values())).shape[1:]
        first = str(error).strip().splitlines()[0][:200]
        look.faults.append(
            f"{name} makes {processor.plural} of {' x '.join(map(str, sides))}, and the model of"
            f" {CONFIG} does not take them: {first}"
        )


def _picture(folder: Path) -> dict[str, torch.Tensor]:
    from PIL import Image

    transformers_logging.set_verbosity_error()
    processor = AutoImageProcessor.from_pretrained(
        folder, trust_remote_code=False, local_files_only=True, backend="pil"
    )
    picture = Image.new("RGB", PROBE_SIZE, (200, 30, 30))
    pixels: torch.Tensor = processor(images=[picture], return_tensors="pt")["pixel_values"]
    return {"pixel_values": pixels}


def _sound(folder: Path) -> dict[str, torch.Tensor]:
    transformers_logging.set_verbosity_error()
    extractor = AutoFeatureExtractor.from_pretrained(
        folder, trust_remote_code=False, local_files_only=True
    )
    rate = getattr(extractor, "sampling_rate", None)
    if not isinstance(rate, int) or not MIN_RATE <= rate <= MAX_RATE:
        raise ValueError(f"its sampling_rate is {rate!r}, which is none of a sound")
    wave = np.sin(np.arange(rate) / 10).astype(np.float32)
    made = dict(extractor([wave], sampling_rate=rate, return_tensors="pt"))
    # Of a mask the model asks values, which are none without memory.
    return {key: value for key, value in made.items() if value.is_floating_point()}


PICTURES = _Processor("image processor", "pictures", _picture)
SOUNDS = _Processor("feature extractor", "sounds", _sound)


# Speech


def _look_at_hearing(look: BaseLook, folder: Path) -> None:
    """What makes a model's numbers of sounds, and the tokenizer where it needs one."""
    if not has_any(folder, PROCESSOR_FILES):
        look.faults.append("has no feature extractor (preprocessor_config.json)")
        return
    name = next(name for name in PROCESSOR_FILES if (folder / name).exists())
    look.attempt(name, STEP_SECONDS, lambda: _sound(folder))
    if look.model is None or not writes_words(look.model.config):
        return  # letters are made of the transcripts where the base has none
    kind = look.model.config.model_type
    if kind != KNOWN_TYPE:
        look.faults.append(
            f"{CONFIG} describes a {kind}; of models that write word by word only {KNOWN_TYPE} is"
            " trained, so name one of those, or a model of CTC, as wav2vec2"
        )
    else:
        _look_at_tokenizer(look, folder)


# Weights


def weight_faults(headers: Sequence[Path], model: Any) -> list[str]:
    """What the headers of safetensors files say against the model that the config describes."""
    from hub_trainer.finetune.methods import base_of

    faults: list[str] = []
    body, prefix = base_of(model), f"{getattr(model, 'base_model_prefix', '')}."
    shapes = {name: tuple(tensor.shape) for name, tensor in body.state_dict().items()}
    for path in headers:
        try:
            tensors = read_header(path)
        except ValueError as error:
            faults.append(f"{path.name}: {error}")
            continue
        faults += list(_tensor_faults(path.name, tensors, shapes, prefix))
    return faults


def _tensor_faults(
    file: str,
    tensors: Mapping[str, Mapping[str, Any]],
    shapes: Mapping[str, tuple[int, ...]],
    prefix: str,
) -> Iterator[str]:
    few_bits = [n for n, t in tensors.items() if len(t["shape"]) > 1 and t["dtype"] not in FLOATS]
    few_bits = [name for name in few_bits if name.endswith("weight")]
    if few_bits:
        dtype = tensors[few_bits[0]]["dtype"]
        yield f"{file}: {few_bits[0]} is stored as {dtype}; name the model in full precision"
    for name, tensor in tensors.items():
        wanted = shapes.get(name.removeprefix(prefix))
        found = tuple(tensor["shape"])
        if not few_bits and wanted is not None and found != wanted:
            yield (
                f"{file}: {name} is {_sides(found)} in the weights and {_sides(wanted)} by"
                f" {CONFIG}; it would begin at random"
            )
            return


def _sides(shape: tuple[int, ...]) -> str:
    return " x ".join(f"{side:,}" for side in shape) or "a number"
