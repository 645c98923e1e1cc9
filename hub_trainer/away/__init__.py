"""Rounds away from this machine: on a Slurm cluster, or as a Job of the Hub."""
