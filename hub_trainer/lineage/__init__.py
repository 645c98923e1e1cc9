"""Rounds and where they came from: pins of the next, records of those before, their repos."""

from hub_trainer.lineage.continuity import (
    Memory,
    assert_continuous,
    assert_pins_hold,
    assert_sources_continuous,
    remember,
)
from hub_trainer.lineage.model_contents import changed_files, file_hashes, is_documentation
from hub_trainer.lineage.pins import (
    PINS,
    PinnedRepo,
    Pins,
    load_pins,
    model_settings,
    new_pins,
    pin_round,
    pinned_ratings,
    write_pins,
)
from hub_trainer.lineage.records import (
    RECORD,
    SCHEMA_VERSION,
    ModelRepo,
    RoundRecord,
    parse_record,
    published_round,
    read_model_repo,
    read_record,
    read_rounds,
)

__all__ = [
    "PINS",
    "RECORD",
    "SCHEMA_VERSION",
    "Memory",
    "ModelRepo",
    "PinnedRepo",
    "Pins",
    "RoundRecord",
    "assert_continuous",
    "assert_pins_hold",
    "assert_sources_continuous",
    "changed_files",
    "file_hashes",
    "is_documentation",
    "load_pins",
    "model_settings",
    "new_pins",
    "parse_record",
    "pin_round",
    "pinned_ratings",
    "published_round",
    "read_model_repo",
    "read_record",
    "read_rounds",
    "remember",
    "write_pins",
]
