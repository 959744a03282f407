"""Straightforward implementations that the benchmark's own training steps and attacks are timed and checked against."""
