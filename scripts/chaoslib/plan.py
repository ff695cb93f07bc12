"""What is done to the server, in which order: a matter of the seed alone."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

DECK = {
    'kill a worker': 4,
    'kill the mold': 1,
    'kill a newcomer': 2,
    'kill the master': 1,
    'terminate a worker': 3,
    'stop a worker': 1,
    'stop and continue a worker': 1,
    'crash a worker': 2,
    'hog memory': 2,
    'hang': 2,
    'reload': 3,
    'reload twice': 1,
    'reload a syntax error': 1,
    'reload an exception': 1,
    'reload an exit': 1,
    'reload a sudden exit': 1,
    'reload an endless import': 1,
    'reload a bad option': 1,
    'upgrade': 1,
    'one worker more': 2,
    'one worker fewer': 2,
    'reopen the logs': 1,
    'slow heads': 1,
    'slow bodies': 1,
    'slow readers': 1,
}
"""How often each action comes before all of them begin again, in another order."""

SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 1.5


class Step(NamedTuple):
    """An action, and ``pause`` seconds after it.  ``aim`` chooses among the workers that there are: 0 to 1."""

    action: str
    pause: float
    aim: float


def steps(seed: int) -> Iterator[Step]:
    """Without an end."""
    chance = random.Random(seed)
    deck = [action for action, copies in DECK.items() for _ in range(copies)]
    while True:
        chance.shuffle(deck)
        for action in deck:
            yield Step(action, chance.uniform(SHORTEST_PAUSE, LONGEST_PAUSE), chance.random())
