"""Limits on what a dataset may ask of the machine that reads it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Budgets of one split; what goes over them is an error that names the limit."""

    max_rows: int = 5_000_000
    max_bytes: int = 2_000_000_000
    """Bytes of all cells once decoded, whatever the files say of themselves."""
    max_cell_bytes: int = 50_000_000
    """Bytes of one text or one encoded image."""
    max_columns: int = 2_000
    max_expansion: int = 200
    """Decoded bytes per byte of a file, once it decodes to more than `free_bytes`."""
    free_bytes: int = 100_000_000
    max_files: int = 100_000
    max_pixels: int = 16_000_000
    """Pixels of one image, read from its header before it is decoded."""
