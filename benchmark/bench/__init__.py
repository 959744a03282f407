"""Measures how long the parts of an experiment take on this machine."""
