"""One module per file format; each finds its files in a folder and reads one part into numpy arrays."""
