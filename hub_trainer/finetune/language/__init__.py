"""Language models: data and chat templates, SFT, DPO and KTO on packed rows, and generation.

This file imports nothing, so that `formats`, `encode` and `preview` are free of torch.
"""
