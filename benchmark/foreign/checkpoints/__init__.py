"""Checkpoints of public repositories, folded into plain networks: one module per layout."""
