"""Commands around runs on several machines: what runs where, and how results of two sites come together."""
