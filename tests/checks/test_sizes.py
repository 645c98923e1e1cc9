import yaml

from hub_trainer.checks.declared_sizes import without_sizes

CARD = """---
license: mit
dataset_info:
  features:
  - name: label
    dtype: string
  splits:
  - name: train
    num_bytes: 10
    num_examples: 2
  - name: test
    num_examples: 2
  download_size: 10
  dataset_size: 10
configs:
- config_name: default   # kept as it is
  data_files:
  - split: train
    path: data/train-*
---
# Title

splits:
  download_size: in prose stays
"""


def test_card_when_it_records_sizes_then_only_their_lines_go() -> None:
    smaller = without_sizes(CARD.encode())
    assert smaller is not None
    dropped = [line for line in CARD.splitlines() if line not in smaller.decode().splitlines()]
    assert all("num_" in x or "size" in x or "name: t" in x or "splits" in x for x in dropped)
    assert "# kept as it is" in smaller.decode()
    assert smaller.decode().endswith("splits:\n  download_size: in prose stays\n")
    found = yaml.safe_load(smaller.decode().split("---\n")[1])
    assert found["dataset_info"] == {"features": [{"name": "label", "dtype": "string"}]}
    assert found["configs"][0]["data_files"] == [{"split": "train", "path": "data/train-*"}]


def test_card_when_it_lists_several_configs_then_each_loses_its_sizes() -> None:
    card = "---\ndataset_info:\n- config_name: a\n  splits:\n  - name: x\n    num_examples: 1\n"
    card += "- config_name: b\n  dataset_size: 3\n  features: []\n---\nx"
    smaller = without_sizes(card.encode())
    assert smaller is not None
    info = yaml.safe_load(smaller.decode().split("---\n")[1])["dataset_info"]
    assert info == [{"config_name": "a"}, {"config_name": "b", "features": []}]


def test_card_when_written_in_flow_style_then_rewritten() -> None:
    card = "---\nlicense: mit\ndataset_info: {dataset_size: 3, features: []}\n---\nBody"
    smaller = without_sizes(card.encode())
    assert smaller is not None
    found = yaml.safe_load(smaller.decode().split("---\n")[1])
    assert found == {"license": "mit", "dataset_info": {"features": []}}
    assert smaller.endswith(b"---\nBody")


def test_card_when_it_records_none_then_left_alone() -> None:
    assert without_sizes(b"---\nlicense: mit\n---\n") is None
    assert without_sizes(b"no metadata") is None
