"""The `exact_match` module, in a folder of its own as evaluate wants it."""
