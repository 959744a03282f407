"""Expands a suite file and the command line into fully resolved experiments."""
