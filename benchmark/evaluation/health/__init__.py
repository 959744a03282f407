"""Checks that an attack's failure is the network's merit, not a broken gradient."""
