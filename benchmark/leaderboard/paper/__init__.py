"""The published tables beside the rows that reproduce them."""
