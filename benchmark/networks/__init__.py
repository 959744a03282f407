"""The networks that are compared: shapes, layers and operation counts."""
