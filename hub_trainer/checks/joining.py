"""A file of rows that joins a dataset: in its format, columns and types, where there is room."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hub_trainer.checks.placement import find_place
from hub_trainer.checks.review_context import Tip, fetch_files
from hub_trainer.errors import DataError, UsageError
from hub_trainer.hub import Hub
from hub_trainer.rows import SplitFiles, write_card
from hub_trainer.rows.own_schema import FORMATS, OwnSchema, encode_table
from hub_trainer.sandbox import run_sandboxed

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Destination:
    """A split of a dataset at a commit, which gets a file."""

    tip: Tip
    split: str
    config: str | None = None

    @property
    def there(self) -> SplitFiles:
        """The files that the split has."""
        return self.tip.split_files(self.config, self.split)

    @property
    def suffix(self) -> str:
        """Suffix of a file of rows. Raises UsageError where the dataset has other files."""
        there = self.there
        if there.reader in FORMATS:
            tabs = there.files[self.split][0].lower().endswith(".tsv")
            return "tsv" if tabs else FORMATS[there.reader]
        raise UsageError(
            "This dataset takes no file of rows.",
            where=self.tip.repo.repo_id,
            got=f"a dataset of the kind {there.reader}",
            do="Add the files themselves, laid out as its own: hf upload --create-pr. Or convert "
            "it once: load_dataset(...).push_to_hub(...), which writes parquet.",
        )

    def read_schema(self, hub: Hub, scratch: Path) -> OwnSchema:
        """The dataset's columns and types, from its smallest file, read in a sandboxed child."""
        there = self.there
        sizes = {file.path: file.size_bytes for file in self.tip.files}
        smallest = min(there.files[self.split], key=lambda path: sizes[path])
        folder = scratch / "data"
        fetch_files(hub, self.tip.repo, self.tip.commit_sha, [smallest], folder)
        write_card(folder, there.card)
        answer = run_sandboxed(
            "hub_trainer.rows.own_schema:describe_folder",
            {"folder": str(folder), "split": self.split},
            folder=scratch / "out",
        )
        return OwnSchema.from_json(answer)

    def encode(self, table: "pa.Table", schema: OwnSchema, *, where: str) -> bytes:
        """The bytes of a file in the dataset's format. Raises DataError for what it cannot hold;
        `where` says whose rows they are."""
        return encode_table(table, self.suffix, schema, where=where)

    def place(self, name: str) -> str:
        """A path that the split's patterns take up. Raises DataError when the card has no room."""
        files = self.there.files[self.split]
        found = find_place(
            self.tip.names, files, name, card=self.tip.card, config=self.config, split=self.split
        )
        if found is not None:
            return found
        raise DataError(
            "The dataset's card leaves no room for another file of this split.",
            where=f"{self.tip.repo.repo_id}, {self.split}",
            got=f"patterns that take only {', '.join(files[:3])}",
            do=f"Its owner can widen the pattern in the card, as data/{self.split}-*.",
        )
