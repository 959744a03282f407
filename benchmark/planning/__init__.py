"""Which experiments are still to be run, and what they will cost."""
