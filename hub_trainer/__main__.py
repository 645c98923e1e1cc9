"""`python -m hub_trainer`, as `accelerate launch -m hub_trainer train RECIPE` calls it."""

from hub_trainer.cli import main

main()
