"""Draws the figures that `benchmark.leaderboard` plans. Only the modules that draw import matplotlib."""
