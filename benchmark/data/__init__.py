"""Data sets: which are known (`catalog`), their fixed splits (`splits`) and how to load them (`load`).

Nothing is imported here, so that `benchmark.data.catalog` stays free of torch and numpy.
"""
