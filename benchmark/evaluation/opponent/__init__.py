"""Attacks on networks that were built to mislead the standard attacks."""
