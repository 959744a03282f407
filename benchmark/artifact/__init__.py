"""What is left of a network after compression: checks that a method kept its promise, and how small it is."""
