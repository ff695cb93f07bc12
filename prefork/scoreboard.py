"""The shared counters: one anonymous mapping that every process of a master can read.

It is made before the first fork, so that it needs no file, no name and no cleaning up.  Each worker writes the row
that it was given and no other; anyone reads.  A cell is an aligned 8-byte store, so a reader may see an old value
but never half of one.
"""

from __future__ import annotations

import mmap

ROWS = 1024
"""Rows made at start: the most workers that one master can have at once, over all servers and generations."""

FIELDS = (
    'pid',  # 0: the row is free
    'server',  # index of the server in the configuration
    'generation',
    'slot',
    'state',  # one of the constants below
    'running',  # application calls in progress
    'connections',
    'accepted',  # connections accepted so far
    'requests',  # requests answered so far
    'errors',  # requests that ended in a 500 of ours, or whose client sent what we refuse
    'rss',  # spare cells keep a row at 128 bytes: two cache lines, shared with no other row
    'spare_1',
    'spare_2',
    'spare_3',
    'spare_4',
    'spare_5',
)
STARTING, READY, DRAINING = 1, 2, 3

_CELL = 8
_STRIDE = len(FIELDS)
_INDEX = {name: index for index, name in enumerate(FIELDS)}


def shared_cells(count: int) -> memoryview:
    """So many cells, all 0, in memory that forked children share."""
    return memoryview(mmap.mmap(-1, count * _CELL)).cast('Q')


class Row:
    """One worker's counters.  Its owner calls :meth:`put`; readers call :meth:`get`."""

    __slots__ = ('_base', '_cells', 'number')

    def __init__(self, cells: memoryview, number: int) -> None:
        self.number = number
        self._cells = cells
        self._base = number * _STRIDE

    def get(self, field: str) -> int:
        value: int = self._cells[self._base + _INDEX[field]]
        return value

    def put(self, field: str, value: int) -> None:
        self._cells[self._base + _INDEX[field]] = value

    def clear(self) -> None:
        """Free the row, for whoever gets it next."""
        for cell in range(self._base, self._base + _STRIDE):
            self._cells[cell] = 0


class Scoreboard:
    """``rows`` rows in memory that forked children share."""

    def __init__(self, rows: int = ROWS) -> None:
        self._cells = shared_cells(rows * _STRIDE)
        self._rows = tuple(Row(self._cells, number) for number in range(rows))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> Row:
        return self._rows[number]
