"""Keeps the tests of the engine quick."""

import gc

import torch
import transformers.trainer  # noqa: F401  imported before the freeze below

# Accelerate collects garbage at the start of each training, half a second over all that is
# imported: what is there now is never garbage.
gc.collect()
gc.freeze()
torch.set_num_threads(1)
