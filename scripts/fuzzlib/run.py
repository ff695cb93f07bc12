"""One target, fuzzed in a process of its own: libFuzzer, which is in atheris, ends the process that it runs in."""

from __future__ import annotations

import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

from fuzzlib.mutation import Mutator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

    from fuzzlib.targets import Check

LONGEST = 1 << 16
"""Bytes of an input of libFuzzer's: what one recv() brings at most."""

SLOWNESS = 10
"""What libFuzzer's view of every branch costs, as a factor."""


def main(name: str, seconds: str, runs: str, seed: str, by: str) -> int:
    if by == 'atheris':
        try:
            import atheris
        except ImportError:
            pass  # the command line has said so, when it made the environment
        else:
            _by_atheris(atheris, name, int(seconds), int(runs), int(seed))
    from fuzzlib.targets import TARGETS

    return by_mutation(name, *TARGETS[name], seconds=int(seconds), runs=int(runs), seed=int(seed))


def by_mutation(name: str, check: Check, seeds: Sequence[bytes], *, seconds: int, runs: int, seed: int) -> int:
    """Check the seeds and what can be made of them; 1 as soon as one fails, 0 after ``seconds`` or ``runs`` inputs."""
    mutator = Mutator(seeds, seed)
    started = time.monotonic()
    done = 0
    while time.monotonic() - started < seconds and (not runs or done < runs):
        data = seeds[done] if done < len(seeds) else mutator.next()
        if not _holds(check, data):
            return 1
        done += 1
    print(f'{name}: {done} inputs in {time.monotonic() - started:.0f} s by mutation, and all rules hold')
    return 0


def _holds(check: Check, data: bytes) -> bool:
    try:
        check(data)
    except Exception:
        traceback.print_exc()
        print(f'{check.__name__} fails for {data!r}', file=sys.stderr, flush=True)
        return False
    return True


def _by_atheris(atheris: Any, name: str, seconds: int, runs: int, seed: int) -> NoReturn:
    with atheris.instrument_imports(include=['prefork.http1']):
        from fuzzlib import targets
    targets.bound *= SLOWNESS
    check, seeds = targets.TARGETS[name]
    done = 0
    started = time.monotonic()

    def one(data: bytes) -> None:
        nonlocal done
        if not _holds(check, data):
            folder.cleanup()
            os._exit(1)
        done += 1
        # libFuzzer would stop by itself, and say so in its own words, in the middle of ours.
        if time.monotonic() - started >= seconds or done == runs:
            print(
                f'{name}: {done} inputs in {time.monotonic() - started:.0f} s by atheris, and all rules hold',
                flush=True,
            )
            folder.cleanup()
            os._exit(0)

    folder = tempfile.TemporaryDirectory(prefix='prefork-fuzz-')
    for number, data in enumerate(seeds):
        Path(folder.name, f'seed-{number}').write_bytes(data)
    options = [f'-max_len={LONGEST}', f'-seed={seed}', '-rss_limit_mb=2048', '-timeout=10', '-verbosity=0', '-reload=0']
    atheris.Setup([sys.argv[0], folder.name, *options], one)
    atheris.Fuzz()
    raise AssertionError('libFuzzer ends the process')


if __name__ == '__main__':
    try:
        sys.exit(main(*sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
