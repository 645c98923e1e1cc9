"""The Space: one model, and under each of its answers the question whether it is right."""

from hub_trainer.space.server import main

if __name__ == "__main__":
    main()
