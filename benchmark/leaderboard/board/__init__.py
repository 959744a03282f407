"""A board: its rows, their order, and the questions about it."""
