"""Fine-tuning of any torch model on Accelerate; `engine.fine_tune` is the entry that tasks call.

This file imports nothing, so that `report` is free for code that never trains.
"""
