"""Data sets: the catalog, their fixed splits (`splits`) and how to load them (`load`).

Imports nothing, so that `benchmark.data.catalog` stays free of torch and numpy.
"""
