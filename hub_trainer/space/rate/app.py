"""The Space: people try a model, and say of each of its answers how good it is."""

from hub_trainer.space.server import main

if __name__ == "__main__":
    main()
