"""Image: the bytes of one encoded picture per row, in the column `image`."""

from hub_trainer.inputs import Altered, Input, Near, Row, altered_images, near_images


class Image:
    """A picture; `pictures` decodes it wherever its pixels are looked at."""

    name = "image"
    near: Near = near_images
    altered: Altered = altered_images
    repeats_by_chance = False

    # --- identity

    def content(self, row: Row) -> bytes:
        """The file as it is."""
        content: bytes = row["image"]
        return content

    def normal(self, row: Row) -> bytes:
        """The decoded pixels, upright."""
        return near_images.pixels(row["image"])

    def compared(self, row: Row) -> bytes:
        """The file as it is."""
        return self.content(row)


INPUT: Input = Image()
