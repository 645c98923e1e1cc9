"""README metadata: parsing, what is wrong with it, and the tags and fields that follow from it."""

import re
from typing import Any

import yaml

from hub_trainer.local_hub.names import RepoType
from hub_trainer.local_hub.repo_rows import Card

MAX_METADATA_BYTES = 1_000_000

_FRONT_MATTER = re.compile(
    r"\A\ufeff?\s*---[ \t]*[\r\n]+(.*?)(?:^|[\r\n]+)---[ \t]*(?:[\r\n]|\Z)",
    re.DOTALL | re.MULTILINE,
)

LICENSES = frozenset(
    [
        "apache-2.0",
        "mit",
        "openrail",
        "bigscience-openrail-m",
        "creativeml-openrail-m",
        "bigscience-bloom-rail-1.0",
        "bigcode-openrail-m",
        "afl-3.0",
        "artistic-2.0",
        "bsl-1.0",
        "bsd",
        "bsd-2-clause",
        "bsd-3-clause",
        "bsd-3-clause-clear",
        "c-uda",
        "cc",
        "cc0-1.0",
        "cc-by-2.0",
        "cc-by-2.5",
        "cc-by-3.0",
        "cc-by-4.0",
        "cc-by-sa-3.0",
        "cc-by-sa-4.0",
        "cc-by-nc-2.0",
        "cc-by-nc-3.0",
        "cc-by-nc-4.0",
        "cc-by-nd-4.0",
        "cc-by-nc-nd-3.0",
        "cc-by-nc-nd-4.0",
        "cc-by-nc-sa-2.0",
        "cc-by-nc-sa-3.0",
        "cc-by-nc-sa-4.0",
        "cdla-sharing-1.0",
        "cdla-permissive-1.0",
        "cdla-permissive-2.0",
        "wtfpl",
        "ecl-2.0",
        "epl-1.0",
        "epl-2.0",
        "etalab-2.0",
        "eupl-1.1",
        "eupl-1.2",
        "agpl-3.0",
        "gfdl",
        "gpl",
        "gpl-2.0",
        "gpl-3.0",
        "lgpl",
        "lgpl-2.1",
        "lgpl-3.0",
        "isc",
        "h-research",
        "intel-research",
        "lppl-1.3c",
        "ms-pl",
        "apple-ascl",
        "apple-amlr",
        "mpl-2.0",
        "odc-by",
        "odbl",
        "openmdw-1.0",
        "openmdw-1.1",
        "openrail++",
        "osl-3.0",
        "postgresql",
        "ofl-1.1",
        "ncsa",
        "unlicense",
        "zlib",
        "pddl",
        "lgpl-lr",
        "deepfloyd-if-license",
        "fair-noncommercial-research-license",
        "llama2",
        "llama3",
        "llama3.1",
        "llama3.2",
        "llama3.3",
        "llama4",
        "grok2-community",
        "gemma",
        "unknown",
        "other",
    ]
)
_TEXT_FIELDS = (
    "pipeline_tag",
    "library_name",
    "license_name",
    "license_link",
    "pretty_name",
    "sdk",
)
_LIST_FIELDS = ("tags", "datasets", "metrics", "base_model", "language", "task_categories")
_DATASET_TAGS = (
    "task_categories",
    "task_ids",
    "annotations_creators",
    "language_creators",
    "multilinguality",
    "source_datasets",
    "size_categories",
    "language",
    "license",
)


def split_front_matter(text: str) -> tuple[str | None, str]:
    """(the YAML between the dashes or None, the rest)."""
    found = _FRONT_MATTER.match(text)
    if found is None:
        return None, text
    return found[1], text[found.end() :]


def parse_metadata(text: str) -> dict[str, Any]:
    """The metadata of a README; empty if there is none or it is broken."""
    source, _ = split_front_matter(text)
    try:
        metadata = _load_yaml(source or "")
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return metadata if isinstance(metadata, dict) else {}


def validate_card(text: str) -> tuple[list[str], list[str]]:
    """(errors, warnings) of a README's metadata."""
    source, _ = split_front_matter(text)
    if source is None or not source.strip():
        return [], [
            "empty or missing yaml metadata in repo card "
            "(https://huggingface.co/docs/hub/model-cards#model-card-metadata)"
        ]
    try:
        metadata = _load_yaml(source)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return [f"Invalid YAML metadata: {error}"], []
    if not isinstance(metadata, dict):
        return ["The metadata must be a mapping of keys to values"], []
    return _field_errors(metadata), []


def _field_errors(metadata: dict[str, Any]) -> list[str]:
    errors = [
        f'"{field}" must be a string'
        for field in _TEXT_FIELDS
        if metadata.get(field) is not None and not isinstance(metadata[field], str)
    ]
    errors += [
        f'"{field}" must be a string or an array of strings'
        for field in _LIST_FIELDS
        if metadata.get(field) is not None and not _is_text_list(metadata[field])
    ]
    licenses = metadata.get("license")
    for name in licenses if isinstance(licenses, list) else [licenses]:
        if name is not None and name not in LICENSES:
            errors.append(f'"license" must be one of [{", ".join(sorted(LICENSES))}]')
    index = metadata.get("model-index")
    if index is not None and not _is_model_index(index):
        errors.append('"model-index" must be an array of {name, results}')
    return errors


def _is_text_list(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return all(isinstance(each, str | bool) for each in values)


def _is_model_index(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, dict) and isinstance(each.get("results", []), list) for each in value
    )


class _CardLoader(yaml.SafeLoader):
    """Safe YAML in which dates stay text, as JSON needs it, and aliases cannot explode."""

    yaml_implicit_resolvers = {
        first: [
            (tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("YAML aliases are not allowed in metadata")
        return super().compose_node(parent, index)


def _load_yaml(source: str) -> Any:
    if len(source) > MAX_METADATA_BYTES:
        raise ValueError(f"the metadata is longer than {MAX_METADATA_BYTES} characters")
    return _plain(yaml.load(source, Loader=_CardLoader))  # noqa: S506 - a SafeLoader


def _plain(value: Any) -> Any:
    """Only what JSON can say."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(each) for each in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def read_card(
    repo_type: RepoType, readme: str | None, paths: list[str], config: dict[str, Any]
) -> Card:
    """What a repo's README, file names and config.json say about it."""
    data = parse_metadata(readme or "")
    if repo_type == "model":
        return _model_card(data, paths, config)
    if repo_type == "dataset":
        tags = [f"{key}:{value}" for key in _DATASET_TAGS for value in _texts(data.get(key))]
        return Card(data, _unique([*tags, *_texts(data.get("tags")), "region:us"]), {})
    sdk = data.get("sdk") if isinstance(data.get("sdk"), str) else None
    facts = {
        "sdk": sdk,
        "models": _texts(data.get("models")),
        "datasets": _texts(data.get("datasets")),
    }
    return Card(data, _unique([*_texts(sdk), *_texts(data.get("tags")), "region:us"]), facts)


def _model_card(data: dict[str, Any], paths: list[str], config: dict[str, Any]) -> Card:
    library = _library_of(data, paths, config)
    pipeline = data.get("pipeline_tag") if isinstance(data.get("pipeline_tag"), str) else None
    relation = data.get("base_model_relation")
    bases = [base for base in _texts(data.get("base_model")) if base]
    tags = [
        *_texts(library),
        *(["safetensors"] if any(path.endswith(".safetensors") for path in paths) else []),
        *(["gguf"] if any(path.lower().endswith(".gguf") for path in paths) else []),
        *_texts(config.get("model_type")),
        *_texts(pipeline),
        *_texts(data.get("tags")),
        *_texts(data.get("language")),
        *[f"dataset:{name}" for name in _texts(data.get("datasets"))],
        *[f"base_model:{name}" for name in bases],
        *[f"base_model:{relation or 'finetune'}:{name}" for name in bases],
        *[f"license:{name}" for name in _texts(data.get("license"))],
        *(["model-index"] if data.get("model-index") else []),
        "region:us",
    ]
    facts = {"library_name": library, "pipeline_tag": pipeline, "config": _config_facts(config)}
    return Card(data, _unique(tags), facts)


def _library_of(data: dict[str, Any], paths: list[str], config: dict[str, Any]) -> str | None:
    declared = data.get("library_name")
    if isinstance(declared, str):
        return declared
    if "adapter_config.json" in paths:
        return "peft"
    return "transformers" if isinstance(config.get("model_type"), str) else None


def _config_facts(config: dict[str, Any]) -> dict[str, Any]:
    return {key: config[key] for key in ("architectures", "model_type") if key in config}


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, str)]


def _unique(values: list[str]) -> list[str]:
    return list(dict.fromkeys(values))
