"""Rows of one encoded file, a picture or a sound: what is the same for every medium."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from hub_trainer.errors import DataError
from hub_trainer.inputs import Column, Row, Values
from hub_trainer.inputs.media import Medium

MAX_ROWS = 1_500
"""Rows of each side whose figures are compared."""


class EncodedFile:
    """One file per row, as its bytes, in the column that bears the medium's name."""

    dialogue = None
    has_formats = False
    rated_type: pa.DataType = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    repeats_by_chance = False
    has_features = False
    signs_are_rare = True

    def __init__(
        self, medium: Medium, figures: Callable[[bytes], Mapping[str, float | str]]
    ) -> None:
        """`figures` says what a file looks or sounds like, in a few figures that have names."""
        self.medium, self._figures = medium, figures
        self.name = self.identity = self.rated_column = medium.name
        self.noun, self.plural = f"a {medium.noun}", medium.plural

    def read(self, column: Column, where: str) -> pa.ChunkedArray:
        """Bytes. Raises DataError for a column of anything else."""
        kind = column.values.type
        if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            feature, plural = self.medium.feature, self.medium.plural
            do = f"Use an {feature} column, or one with the bytes of the encoded files."
            raise DataError(f"The column holds no {plural}.", where=where, got=str(kind), do=do)
        return column.values.cast(pa.large_binary())

    def content(self, row: Row) -> bytes:
        """The file."""
        content: bytes = row[self.name]
        return content

    def compared(self, row: Row) -> bytes:
        """The file."""
        return self.content(row)

    def clean(self, row: Row) -> dict[str, Any]:
        """The row as it is."""
        return dict(row)

    def columns(self, new: Sequence[Row], base: Sequence[Row]) -> tuple[Values, Values]:
        """Each side's figures, as the columns of a table."""
        return self._values(new[:MAX_ROWS]), self._values(base[:MAX_ROWS])

    def _values(self, rows: Sequence[Row]) -> Values:
        found = [self._figures(self.content(row)) for row in rows]
        return {name: [one[name] for one in found] for name in found[0]}

    def for_people(self, row: Row) -> dict[str, Any]:
        """The file without what else it tells, as where it was made."""
        return {self.name: self.medium.plain(self.content(row))}

    def length(self, row: Row) -> int:
        """None: a file has no words."""
        return 0

    def rated_cell(self, row: Row) -> dict[str, Any]:
        """As `datasets` holds a file whose name is not known."""
        return {"bytes": row[self.name], "path": None}

    def rated_row(self, cell: Any) -> dict[str, Any] | None:
        """The row, where the file was kept."""
        return None if cell["bytes"] is None else {self.name: cell["bytes"]}
