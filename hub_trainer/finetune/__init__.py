"""Fine-tuning of any torch model on Accelerate; `engine.fine_tune` is the entry that tasks call."""
