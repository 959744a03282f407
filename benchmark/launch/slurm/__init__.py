"""What the SLURM engine is made of: its commands, what is queued, how jobs get there, and what they run."""
