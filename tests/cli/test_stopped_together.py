"""A launched training that is told to stop writes its checkpoint, and ends as if never stopped."""

import signal
import time
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from hub_trainer.artifacts import find_artifact
from tests.cli.conftest import REPO, Cli
from tests.cli.seeded import write_recipe
from tests.finetune.tiny import same_weights

pytestmark = pytest.mark.slow
SETTINGS = ["num_train_epochs=4", "save_strategy=epoch", "eval_strategy=epoch"]


def _weights(folder: Path) -> dict[str, object]:
    trained = find_artifact(folder / "train")
    assert trained is not None
    [file] = trained.folder.rglob("model.safetensors")
    return load_file(file)


def _left(mark: str) -> list[str]:
    """Command lines of processes that still train the recipe."""
    lines = [p.read_bytes().decode(errors="replace") for p in Path("/proc").glob("[0-9]*/cmdline")]
    return [line for line in lines if mark in line and "hub_trainer" in line]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
@pytest.mark.parametrize("processes", [1, 2])
def test_launched_training_when_signalled_then_75_and_the_same_weights_in_the_end(
    cli: Cli, processes: int, number: signal.Signals
) -> None:
    config = yaml.safe_load((REPO / "accelerate_configs" / "cpu.yaml").read_text())
    (cli.folder / "cpu.yaml").write_text(yaml.safe_dump({**config, "num_processes": processes}))
    name = f"together-{processes}-{number.name.lower()}"
    recipe = write_recipe(cli.folder / f"{name}.yaml", "text")
    given = [*(f"train.arguments.{one}" for one in SETTINGS), "--accelerate-config", "cpu.yaml"]
    command = ["run", recipe, *given, "--json", "--round-dir"]
    process = cli.start(*command, cli.folder / "cut")
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if "step 10" in line or "Traceback" in line:
            break
    process.send_signal(number)
    said.append(process.communicate(timeout=240)[1])
    told = "".join(said)
    assert process.returncode == 75, told
    assert "Traceback" not in told
    assert told.count("its checkpoint is on disk") == 1
    assert "run the same command again" in told
    until = time.monotonic() + 5
    while _left(name) and time.monotonic() < until:
        time.sleep(0.1)
    assert _left(name) == []
    again = cli.run(*command, cli.folder / "cut")
    assert again.code in (0, 6), again.err
    trained = find_artifact(cli.folder / "cut" / "train")
    assert trained is not None
    assert trained.outputs["fit"]["resumed_from"] >= 10
    other = write_recipe(cli.folder / f"whole-{name}.yaml", "text")
    whole = cli.run("run", other, *given, "--json", "--round-dir", cli.folder / "whole")
    assert whole.code in (0, 6), whole.err
    assert same_weights(_weights(cli.folder / "whole"), _weights(cli.folder / "cut"))
