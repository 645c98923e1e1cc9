"""The `token_f1` module, in a folder of its own as evaluate wants it."""
