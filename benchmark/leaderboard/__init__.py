"""Boards made from records alone: the same records give the same bytes on every machine.

`reference` reads published numbers, `tables` ranks, `render` formats and writes. Imports no torch.
"""
