"""The sizes that a card declares, which are wrong once rows have joined and then break loading."""

import re

import yaml

from hub_trainer.checks.card_changes import card_metadata
from hub_trainer.rows.card import FRONT_MATTER

SIZE_KEYS = ("splits", "download_size", "dataset_size")


def without_sizes(card: bytes) -> bytes | None:
    """The card without recorded sizes of its splits; None when it records none.

    `load_dataset` compares the rows it reads with `dataset_info.splits` and fails on a difference,
    so a merge must not leave the old figures. Only their lines go; the rest stays as it is.
    """
    metadata = card_metadata(card)
    if not any(key in info for info in _infos(metadata) for key in SIZE_KEYS):
        return None
    text = card.decode("utf-8", "replace")
    found = FRONT_MATTER.match(text)
    assert found is not None, "a card with metadata has a front matter"
    for info in _infos(metadata):
        for key in SIZE_KEYS:
            info.pop(key, None)
    block = _without_lines(found[2])
    if yaml.safe_load(block) != metadata:
        block = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True).rstrip("\n")
    return f"---\n{block}\n---\n{text[found.end() :]}".encode()


def _without_lines(block: str) -> str:
    """The YAML without the lines of the size keys, found by their indentation."""
    kept: list[str] = []
    dropping: int | None = None
    inside = False
    for line in block.splitlines():
        indent = len(line) - len(line.lstrip())
        if line.strip() and indent == 0 and not line.startswith("-"):
            inside = line.startswith("dataset_info:")
        if dropping is not None and (indent > dropping or line.startswith(" " * dropping + "- ")):
            continue
        dropping = None
        if inside and re.match(rf"\s+(?:{'|'.join(SIZE_KEYS)}):", line):
            dropping = indent
            continue
        kept.append(line)
    return "\n".join(kept)


def _infos(metadata: dict[str, object]) -> list[dict[str, object]]:
    info = metadata.get("dataset_info") or []
    entries = info if isinstance(info, list) else [info]
    return [entry for entry in entries if isinstance(entry, dict)]
