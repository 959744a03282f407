"""What Python users call and the command line calls: load, plan, run, compare and reproduce, with typed results."""
