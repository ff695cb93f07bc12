"""The command line of scripts/chaos."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from chaoslib.actions import Actor
from chaoslib.clients import Client
from chaoslib.ledger import Ledger
from chaoslib.plan import DECK, Step, steps
from chaoslib.service import Service
from chaoslib.site import Site

DESCRIPTION = """\
Serve an application with this checkout and be cruel to the server: kill, stop and crash its processes, reload what
works and what is broken, hog its memory, hang, be slow.  Meanwhile clients ask without a pause, and look at every
answer.  At the end stands what was done and what was lost; the exit status is 0 where nothing was lost but requests
inside workers that were killed, nothing is left over, and the log tells of no bug.  The sequence is the seed's."""

SHOWN = 20
"""Losses that are printed one by one."""


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    if options.plan:
        for _, step in zip(range(options.plan), steps(seed), strict=False):
            print(f'{step.action:<28}{step.pause:6.2f} s  {step.aim:.3f}')
        return 0
    print(f'seed {seed}', flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the server is stopped on the way out
    ledger = Ledger()
    try:
        with tempfile.TemporaryDirectory() as folder:
            _run(options, seed, Site(Path(folder), options.workers), ledger)
    except KeyboardInterrupt:
        return 130
    return report(ledger)


def _run(options: argparse.Namespace, seed: int, site: Site, ledger: Ledger) -> None:
    service = Service(site, ledger)
    try:
        began = time.monotonic()
        _be_cruel(options, seed, site, service, ledger)
        seconds = time.monotonic() - began
        print(f'{seconds:.0f} s; the server: {service.stop()}')
        service.check_log()
    finally:
        service.close()
        if options.log:
            Path(options.log).write_text(service.log())


def _be_cruel(options: argparse.Namespace, seed: int, site: Site, service: Service, ledger: Ledger) -> None:
    """Until the time is over, and all clients have ended."""
    clients = [Client(n, service.port, ledger, keeps=n % 2 == 0) for n in range(options.clients)]
    actor = Actor(site, service, ledger)
    for client in clients:
        client.start()
    try:
        end = time.monotonic() + options.seconds
        for step in steps(seed):
            _note(options, step)
            actor.act(step)
            if time.monotonic() + step.pause >= end:
                break
            time.sleep(step.pause)
    except AssertionError as error:
        ledger.complain(f'after {step.action!r}: {error}')
    finally:
        for client in clients:
            client.tell_to_end()
        for client in clients:
            client.join()
        actor.end()


def _note(options: argparse.Namespace, step: Step) -> None:
    if options.verbose:
        print(f'{time.monotonic():.3f} {step.action}', flush=True)


def report(ledger: Ledger) -> int:
    """Print what is in it; the exit status."""
    print('\ndone')
    for action in DECK:
        print(f'{ledger.done[action]:>8}  {action}')
    print('answered')
    for request, count in sorted(ledger.answered.items()):
        print(f'{count:>8}  {request}')
    excused, unexcused = ledger.excused(), ledger.unexcused()
    print(f'{sum(ledger.answered.values()):>8}  in all\nlost, and excused')
    for reason, count in sorted(excused.items()):
        print(f'{count:>8}  {reason}')
    print(f'{sum(excused.values()):>8}  in all\nlost without an excuse')
    for loss in unexcused[:SHOWN]:
        worker = f'worker {loss.worker}' if loss.worker else 'a worker that is not known'
        print(f'          {loss.request}: {loss.what}, from {loss.began:.3f} to {loss.ended:.3f}, {worker}')
    print(f'{len(unexcused):>8}  in all\nproblems')
    for problem in ledger.problems:
        print(f'          {problem}')
    print(f'{len(ledger.problems):>8}  in all', flush=True)
    if not ledger.answered:
        print('nothing was answered', file=sys.stderr)
    return 1 if unexcused or ledger.problems or not ledger.answered else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='scripts/chaos', description=DESCRIPTION)
    parser.add_argument('--seed', type=int, metavar='N', help='of the sequence; default: any, and printed')
    parser.add_argument('--seconds', type=float, default=60.0, metavar='S', help='default: 60')
    parser.add_argument('--workers', type=int, default=4, metavar='N', help='default: 4')
    parser.add_argument('--clients', type=int, default=8, metavar='N', help='half keep connections; default: 8')
    parser.add_argument('--log', metavar='FILE', help="where the server's log is to be kept")
    parser.add_argument('--plan', type=int, metavar='N', help='only print the first N actions of the sequence')
    parser.add_argument('--verbose', action='store_true', help='print each action, with the time of the clock')
    return parser
