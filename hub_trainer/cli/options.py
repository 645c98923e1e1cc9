"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe, a YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[key.path=value]...", help="Settings that replace the recipe's."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object as the last line.")]
RoundDir = Annotated[
    Path | None, typer.Option(help="Where the round is kept; rounds/<recipe>/round-<N> otherwise.")
]
Endpoint = Annotated[
    str | None, typer.Option(help="Address of the Hub; HF_ENDPOINT, or the public one otherwise.")
]
AccelerateConfig = Annotated[
    Path | None, typer.Option(help="Run the train stage under this accelerate config file.")
]
