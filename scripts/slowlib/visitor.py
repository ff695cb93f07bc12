"""A client who isn't slow: it asks for a page on a new connection, several times a second, and takes the time."""

from __future__ import annotations

import http.client
import statistics
import threading
import time

from slowlib.app import PAGE

INTERVAL = 0.1
TIMEOUT = 5.0
"""Seconds after which an answer is none."""


class Visitor:
    """Visits from the beginning of a ``with`` block to its end.  ``asked`` counts them, ``failures`` says what went
    wrong, and ``latencies`` are the seconds that the others took, from the connection to the end of the answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._visit_again_and_again)
        self.asked = 0
        self.failures: list[str] = []
        self.latencies: list[float] = []

    def __enter__(self) -> Visitor:
        self._thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def median(self) -> float:
        return statistics.median(self.latencies) if self.latencies else TIMEOUT

    @property
    def worst(self) -> float:
        return max(self.latencies, default=TIMEOUT)

    def _visit_again_and_again(self) -> None:
        while True:
            self.asked += 1
            started = time.monotonic()
            try:
                self._visit()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
            else:
                self.latencies.append(time.monotonic() - started)
            if self._end.wait(INTERVAL):
                return

    def _visit(self) -> None:
        connection = http.client.HTTPConnection('127.0.0.1', self._port, timeout=TIMEOUT)
        try:
            connection.request('GET', '/', headers={'Connection': 'close'})
            response = connection.getresponse()
            if response.status != 200 or response.read() != PAGE:
                raise http.client.HTTPException(f'{response.status} {response.reason}')
        finally:
            connection.close()
