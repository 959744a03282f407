"""The networks that are compared: their shapes, their layers, and what a pass through them costs."""
