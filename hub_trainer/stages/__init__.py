"""The stages of a round, one file each; siblings never import each other."""
