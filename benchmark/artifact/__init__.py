"""The compressed network: its file format, its size, and checks that it meets its target."""
