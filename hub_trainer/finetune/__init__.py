"""The fine-tuning engine: one Trainer subclass on Accelerate, and what it trains with.

This file imports nothing heavy: `hub_trainer.finetune.report` is read by code that never trains.
"""
