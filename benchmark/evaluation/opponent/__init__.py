"""Attacks for networks that were built to mislead the standard ones."""
