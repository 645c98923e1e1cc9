"""The Space of a language model: conversations, and blind pairs of two models' answers."""
