"""Where experiments run: one process each, so that a failure of one leaves the others alone."""
