"""Tests of the fine-tuning engine, on models made from a config."""
