"""The `preference_margin` module, in a folder of its own as evaluate wants it."""
