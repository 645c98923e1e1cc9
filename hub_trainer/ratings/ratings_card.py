"""README.md of a ratings dataset: what it holds, under which consent, how it is laid out."""

from collections.abc import Mapping
from typing import Any

import yaml

from hub_trainer.ratings.shards import SHARDS

PREDICTIONS = """\
| Column          | What it holds                                                             |
|-----------------|---------------------------------------------------------------------------|
| `rating_id`     | The rating; a repeated one has the same id                                |
| `generation_id` | The prediction that was rated; a rater's later rating of it supersedes    |
| `row_id`        | sha256 of what was shown to the model, the same for the same content      |
| `rater`         | Pseudonym: a keyed hash, not reversible without the Space's key           |
| `rater_tier`    | `account` for a signed-in rater, `anonymous` for a session                |
| `source`        | Of an anonymous rating a pseudonym, for a day, of its network; else null  |
| `kind`          | `right` or `wrong`                                                        |
| `answer`        | The right answer, according to the rater                                  |
| `prediction`    | The answer of the model; `scores` holds the probability of each label     |
| `model`         | The model's repo and commit                                               |
| `consent`       | Version of the consent text that was shown                                |
| `day`           | Day of the rating, UTC; `epoch` and `seq` order the ratings of one server |

The rated input is in `text`, with the second of a pair in `text_pair`, in `image`, in `audio` or,
for tables, in `features` as JSON. An answer is a label, a number, or for a set of labels a JSON
list."""

DIALOGUES = """\
| Column          | What it holds                                                             |
|-----------------|---------------------------------------------------------------------------|
| `rating_id`     | The rating; a repeated one has the same id                                |
| `generation_id` | The answer, or the pair of answers, that was rated                        |
| `row_id`        | sha256 of the readable prompt                                             |
| `rater`         | Pseudonym: a keyed hash, not reversible without the Space's key           |
| `rater_tier`    | `account` for a signed-in rater, `anonymous` for a session                |
| `source`        | Of an anonymous rating a pseudonym, for a day, of its network; else null  |
| `kind`          | Of an answer `up`, `down`, `edit` or `report`; of a pair `prefer` or `tie` |
| `text`          | The prompt as people read it, with the turns before it                    |
| `prompt`        | The prompt as JSON: a string, or a list of `{role, content}` turns        |
| `prediction`    | The answer; of a pair the preferred one, of a tie the left one            |
| `answer`        | The edited answer, or the reason of a report; else empty                  |
| `model`         | Repo and commit of the model that wrote `prediction`                      |
| `sampling`      | How it was written, as JSON, with the seed                                |
| `rival`         | The other answer of a pair, as JSON; else null                            |
| `consent`       | Version of the consent text that was shown                                |
| `day`           | Day of the rating, UTC; `epoch` and `seq` order the ratings of one server |

`sampling` holds `max_new_tokens`, `temperature`, `top_k`, `top_p` and `seed`; `finished` says
whether the answer came to its own end, and `stopped` that a person cut it short. `rival` holds
`model`, `completion`, `sampling`, and the `side` on which it was shown. A rater's later rating of
a `generation_id` supersedes the earlier one, but an `edit` only an earlier edit. The two answers of
a pair were shown on random sides, and who rated was not told which model wrote which."""


def ratings_card(
    *, task: str, space: str, licence: Mapping[str, Any], consent: str, dialogues: bool = False
) -> str:
    """The card; `licence` holds the keys of its front matter that name one, if any.

    `dialogues` when answers to prompts are rated, and not predictions.
    """
    front = yaml.safe_dump(dict(licence), sort_keys=False) if licence else ""
    return f"""---
{front}task_categories:
- {task}
tags:
- hub-trainer
- ratings
configs:
- config_name: default
  data_files:
  - split: train
    path: {SHARDS}
---

# Ratings from {space}

What people said of a model's answers in the Space `{space}`. Each row is one rating.

{DIALOGUES if dialogues else PREDICTIONS} Files are written once
and never changed, one folder per Space and server start.

## Consent

Shown above the buttons:

> {consent}

To have your ratings removed, open a discussion on this dataset. Copies that others have made, and
models that were trained before, are out of our reach.
"""
