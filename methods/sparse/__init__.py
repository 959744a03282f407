"""Networks with few weights, computed by lists of their weights: a program, its kernels, and modules that run it.

Needs numba, the extra `fast`; `kernels()` is None without it, and nothing else here is used then.
"""
