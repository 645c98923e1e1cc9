"""The `preference_accuracy` module, in a folder of its own as evaluate wants it."""
