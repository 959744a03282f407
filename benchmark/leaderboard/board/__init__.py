"""A board: its rows, their order, and the questions asked of it."""
