"""What is done with every weight when lists are made: finding those that are not zero, and sorting them by list."""

from __future__ import annotations

import numpy as np

from methods.sparse.compiled import compiled

BLOCK = 16  # numbers that are looked at together


@compiled
def nonzero(flat):
    """Return the positions of all numbers that are not zero, in order."""
    total = 0
    for value in flat:
        total += value != 0
    positions = np.empty(total, np.int64)
    number = 0
    for begin in range(0, len(flat), BLOCK):
        end = min(begin + BLOCK, len(flat))
        some = 0
        for i in range(begin, end):
            some += flat[i] != 0
        if some:
            for i in range(begin, end):
                if flat[i] != 0:
                    positions[number] = i
                    number += 1
    return positions


@compiled
def by_list(list_number, place, value, lists):
    """Return bounds (lists + 1,), places and values of the lists' entries, those of a list in the order given."""
    bounds = np.zeros(lists + 1, np.int64)
    for number in list_number:
        bounds[number + 1] += 1
    for number in range(lists):
        bounds[number + 1] += bounds[number]
    free = bounds[:-1].copy()
    places, values = np.empty(len(place), np.int32), np.empty(len(place), np.float32)
    for entry in range(len(place)):
        at = free[list_number[entry]]
        free[list_number[entry]] += 1
        places[at], values[at] = place[entry], value[entry]
    return bounds, places, values
