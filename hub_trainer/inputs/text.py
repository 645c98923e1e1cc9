"""Text: one string per row, in the column `text`."""

from hub_trainer.inputs import Altered, Input, Near, Row, altered_texts, near_texts


class Text:
    """A text, as its author wrote it."""

    name = "text"
    near: Near = near_texts
    altered: Altered = altered_texts
    repeats_by_chance = False

    # --- identity

    def content(self, row: Row) -> bytes:
        """The text itself."""
        return self.compared(row).encode("utf-8", "surrogatepass")

    def normal(self, row: Row) -> bytes:
        """Unicode form, case and white space are levelled."""
        return near_texts.normal_text(self.compared(row)).encode("utf-8", "surrogatepass")

    def compared(self, row: Row) -> str:
        """The text itself."""
        text: str = row["text"]
        return text


INPUT: Input = Text()
