"""The metadata of a dataset card: read as plain data, and its paths kept inside the repo."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hub_trainer.errors import DataError

CARD = "README.md"
MAX_CARD_BYTES = 2_000_000
# The same expression as the Hub's client, so that both see the same block.
FRONT_MATTER = re.compile(r"^(\s*---[\r\n]+)([\S\s]*?)([\r\n]+---(\r\n|\r|\n|$))")
READER_SETTINGS = frozenset(
    {"config_name", "data_files", "data_dir", "default"}
    | {"sep", "delimiter", "header", "names", "column_names", "encoding", "skiprows"}
    | {"quotechar", "quoting", "escapechar", "doublequote", "decimal", "thousands"}
    | {"na_values", "keep_default_na", "field", "drop_labels", "drop_metadata"}
    | {"keep_linebreaks", "sample_by"}
)
"""What a card's config may say to the reader; anything else it says is left aside."""


@dataclass(frozen=True)
class CardFault:
    """A path in a card that leaves the repo: its key, what it says, and why that is refused."""

    key: str
    got: str
    reason: str


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases: a few lines of them unfold into gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not read")
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


def read_card(folder: Path, *, where: str | None = None) -> dict[str, Any]:
    """The metadata block of the card in `folder`; empty when there is none."""
    path = folder / CARD
    if not path.is_file():
        return {}
    size = path.stat().st_size
    if size > MAX_CARD_BYTES:
        raise card_too_large(size, MAX_CARD_BYTES, where=where or str(path))
    return parse_card(path.read_text(encoding="utf-8", errors="replace"), where=where or str(path))


def card_too_large(size_bytes: int, limit: int, *, where: str) -> DataError:
    """The error for a card of more bytes than are read of one."""
    return DataError(
        f"{CARD} is larger than {limit:,} bytes.",
        where=where,
        got=f"{size_bytes:,} bytes",
        do="Move long lists, tables and pictures into files of the repo and link to them; if the "
        "repo is not yours, ask its owner to.",
    )


def parse_card(text: str, *, where: str) -> dict[str, Any]:
    """The metadata block at the top of a card's text."""
    found = FRONT_MATTER.match(text)
    if found is None:
        return {}
    try:
        data = yaml.load(found.group(2), Loader=_PlainLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        message = str(error).replace("\n", " ")[:200]
        do = "Correct the block between the --- lines at the top of the card."
        raise DataError(
            "The dataset card's metadata is not YAML.", where=where, got=message, do=do
        ) from None
    return data if isinstance(data, dict) else {}


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Write a card that holds this metadata and nothing else."""
    block = yaml.safe_dump(dict(card), allow_unicode=True, sort_keys=False)
    (folder / CARD).write_text(f"---\n{block}---\n", encoding="utf-8")


def card_configs(card: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Config name -> what the card says of it, in the card's order."""
    configs = card.get("configs") or []
    if not isinstance(configs, list):
        return {}
    entries = (entry for entry in configs if isinstance(entry, dict))
    return {str(entry.get("config_name", "default")): dict(entry) for entry in entries}


def card_features(card: Mapping[str, Any], config: str) -> Any:
    """The features that the card declares for a config; None when it declares none."""
    infos = card.get("dataset_info")
    for info in infos if isinstance(infos, list) else [infos]:
        if isinstance(info, dict) and str(info.get("config_name", config)) == config:
            return info.get("features")
    return None


def card_faults(card: Mapping[str, Any]) -> list[CardFault]:
    """Every path of the card that points outside the repo."""
    faults = []
    for key, path in _paths(card):
        reason = unsafe_path(path)
        if reason:
            faults.append(CardFault(key, str(path), reason))
    return faults


def assert_safe_card(card: Mapping[str, Any], *, where: str) -> None:
    """Raise DataError when a path of the card points outside the repo."""
    for fault in card_faults(card):
        raise DataError(
            f"The dataset card names a file outside the repo: {fault.key} {fault.reason}.",
            where=f"{where}, {CARD}: {fault.key}",
            got=repr(fault.got),
            do="Name files by their path from the top of the repo, as in data/train-*.parquet.",
        )


def unsafe_path(path: Any) -> str | None:
    """Why a path may lead out of the repo; None when it cannot."""
    if not isinstance(path, str):
        return "is not text"
    if "://" in path or "::" in path:
        return "is a URL"
    if path.startswith(("/", "~")) or re.match(r"^[A-Za-z]:", path):
        return "is absolute"
    if ".." in re.split(r"[/\\]", path):
        return "goes up with '..'"
    return "holds a control character" if re.search(r"[\x00-\x1f]", path) else None


def _paths(card: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    configs = card.get("configs") or []
    for index, config in enumerate(configs if isinstance(configs, list) else [configs]):
        key = f"configs[{index}]"
        if not isinstance(config, dict):
            continue
        if config.get("data_dir") is not None:
            yield f"{key}.data_dir", config["data_dir"]
        yield from _file_paths(f"{key}.data_files", config.get("data_files"))


def _file_paths(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Every leaf under data_files, whatever its shape; split names are no paths."""
    if value is None:
        return
    if isinstance(value, Mapping):
        for name, entry in value.items():
            if name != "split":
                yield from _file_paths(f"{key}.{name}", entry)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for index, entry in enumerate(value):
            yield from _file_paths(f"{key}[{index}]", entry)
    else:
        yield key, value
