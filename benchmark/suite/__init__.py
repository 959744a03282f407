"""From a suite file and the command line to fully resolved experiments."""
