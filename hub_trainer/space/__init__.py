"""The Space: people try a model and say whether it is right; a server keeps what they say."""
