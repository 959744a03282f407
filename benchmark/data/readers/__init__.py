"""One file per on-disk format; each finds its files under a folder and reads one part into numpy arrays."""
