"""Table: a row of numbers, words and booleans; each column but the answer's is a feature."""

from hub_trainer.inputs import Altered, Input, Near, Row, altered_tables, near_tables


class Table:
    """The features of a row, by the names of their columns."""

    name = "table"
    near: Near = near_tables
    altered: Altered = altered_tables
    repeats_by_chance = True

    # --- identity

    def content(self, row: Row) -> bytes:
        """The features by their names, whole numbers as floats."""
        return near_tables.normal_row(row)

    def normal(self, row: Row) -> bytes:
        """As `content`."""
        return near_tables.normal_row(row)

    def compared(self, row: Row) -> Row:
        """The row as it is."""
        return row


INPUT: Input = Table()
