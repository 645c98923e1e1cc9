"""The `completion_loss` module, in a folder of its own as evaluate wants it."""
