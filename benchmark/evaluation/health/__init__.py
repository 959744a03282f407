"""Checks whether attacks fail because of the network's robustness, not because of broken gradients."""
