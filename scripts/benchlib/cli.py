"""The command line of scripts/bench."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from benchlib import cases, environment, page, picture, report, rounds, servers

CHECKOUT = Path(__file__).parents[2]

DESCRIPTION = """\
Compare prefork with other WSGI servers, and with a bare selectors loop, which is what a server in pure Python could
reach if it did nothing. One worker on one core, wrk on another; each server is loaded once a round, and medians are
printed with prefork's ratio to each. The servers are installed into a virtual environment of their own. The last case
measures routing alone, and needs no server."""


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    missing = _missing(options)
    if missing:
        print(f'scripts/bench: {missing}', file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: servers are stopped on the way out
    try:
        _bench(options)
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    names = [case.name for case in (*cases.CASES, *cases.ALONE)]
    listed = '\n'.join(f'  {case.name:9}{case.about}' for case in (*cases.CASES, *cases.ALONE))
    parser = argparse.ArgumentParser(
        prog='scripts/bench',
        description=DESCRIPTION,
        epilog=f'cases:\n{listed}\n\nservers:\n  {", ".join(servers.BY_NAME)}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--cases', type=_chooser(names), default=names, metavar='A,B')
    parser.add_argument('--servers', type=_chooser(servers.BY_NAME), default=list(servers.BY_NAME), metavar='A,B')
    parser.add_argument('--rounds', type=_positive, default=3, metavar='N', help='default: 3')
    parser.add_argument('--seconds', type=_positive, default=2, metavar='S', help='of each turn; default: 2')
    parser.add_argument('--connections', type=_positive, default=32, metavar='N', help='default: 32')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write all samples there')
    parser.add_argument('--write', type=Path, metavar='DIR', help='write a page with the table and a picture there')
    parser.add_argument(
        '--venv', type=Path, default=CHECKOUT / '.bench-venv', metavar='DIR', help='default: .bench-venv'
    )
    return parser


def _chooser(names: Collection[str]) -> Any:
    """An argparse type: a list of some of ``names``, separated by commas, in the order of the table."""

    def parse(text: str) -> list[str]:
        chosen = [word.strip() for word in text.split(',')]
        unknown = [word for word in chosen if word not in names]
        if unknown:
            raise argparse.ArgumentTypeError(f'no {", ".join(unknown)}; there are {", ".join(names)}')
        return [name for name in names if name in chosen]

    return parse


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError('at least 1')
    return number


def _missing(options: argparse.Namespace) -> str:
    """What keeps us from measuring here, and what helps; '' if nothing does."""
    if not _served(options):
        return ''
    if options.write and servers.OURS not in options.servers:
        return f'--write draws multiples of {servers.OURS}: it has to be among the servers'
    if not hasattr(os, 'pidfd_open'):
        return 'needs Linux'
    if len(os.sched_getaffinity(0)) < 2:
        return 'needs two processors: one for the server, one for the load'
    if not shutil.which('wrk'):
        return 'needs wrk, the load generator; on Debian and Ubuntu: apt install wrk'
    if _needs_tls(options) and not shutil.which('openssl'):
        return 'needs the openssl command for the tls case; on Debian and Ubuntu: apt install openssl'
    return ''


def _served(options: argparse.Namespace) -> list[cases.Case]:
    """The chosen cases that load servers."""
    return [cases.BY_NAME[name] for name in options.cases if name in cases.BY_NAME]


def _needs_tls(options: argparse.Namespace) -> bool:
    return any(cases.Need.TLS in case.needs for case in _served(options))


def _bench(options: argparse.Namespace) -> None:
    served = _served(options)
    complaints = environment.ensure(options.venv, CHECKOUT, environment.PACKAGES if served else ())
    versions = environment.versions(options.venv)
    results = report.Results()
    run = _circumstances(options)
    if served:
        _load_servers(options, served, results)
        labels = {name: _label(servers.BY_NAME[name], versions) for name in options.servers}
        print(f'\n{run.where}\n{run.how}\nx: the median of {servers.OURS} over that of the server\n')
        print(report.table(results, [case.name for case in served], labels, servers.OURS))
        remarks = [*report.remarks(results, labels), *complaints, *filter(None, [report.unrest(results, labels)])]
        print('\n'.join(['', *remarks]).rstrip())
        if options.write:
            _write(options.write, results, served, labels, run, remarks)
    elif complaints:
        print('\n'.join(complaints), file=sys.stderr)
    figures = {name: _measure_alone(name, options) for name in options.cases if name in cases.ALONE_BY_NAME}
    if options.json:
        document = {**_document(run, versions), 'cases': report.as_json(results, servers.OURS), 'alone': figures}
        options.json.write_text(json.dumps(document, indent=1) + '\n')


def _load_servers(options: argparse.Namespace, served: list[cases.Case], results: report.Results) -> None:
    chosen = [servers.BY_NAME[name] for name in options.servers]
    with tempfile.TemporaryDirectory(prefix='prefork-bench-') as files:
        plan = _plan(options, Path(files))
        if _needs_tls(options):
            _make_certificate(plan)
        for number, case in enumerate(served, 1):
            print(f'{number}/{len(served)} {case.name}: {case.about}', file=sys.stderr, flush=True)
            rounds.run_case(case, chosen, plan, results)


def _measure_alone(name: str, options: argparse.Namespace) -> Any:
    """Run a module that measures by itself, in the virtual environment, and print its table; the figures."""
    alone = cases.ALONE_BY_NAME[name]
    command = [str(options.venv.absolute() / 'bin' / 'python'), '-m', alone.module, str(options.rounds)]
    done = subprocess.run(command, cwd=CHECKOUT / 'scripts', stdout=subprocess.PIPE, text=True, check=True)
    figures = json.loads(done.stdout)
    print(f'\n{alone.name}: {alone.about}; median of {options.rounds} rounds\n')
    print(importlib.import_module(alone.module).table(figures))
    return figures


def _plan(options: argparse.Namespace, files: Path) -> rounds.Plan:
    server_core, load_core, *_ = sorted(os.sched_getaffinity(0))
    programs = options.venv.absolute() / 'bin'
    return rounds.Plan(programs, files, options.rounds, options.seconds, options.connections, server_core, load_core)


def _make_certificate(plan: rounds.Plan) -> None:
    """A self-signed certificate for 127.0.0.1, its key in PKCS #8 (granian takes no other)."""
    command = ['openssl', 'req', '-x509', '-nodes', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1']
    command += ['-days', '2', '-subj', '/CN=prefork benchmark', '-addext', 'subjectAltName=IP:127.0.0.1']
    command += ['-keyout', str(plan.key), '-out', str(plan.certificate)]
    subprocess.run(command, check=True, capture_output=True)


def _label(server: servers.Server, versions: dict[str, str]) -> str:
    found = [versions[name] for name in server.distributions if name in versions]
    return ' '.join([server.name, *found[:1]])


def _circumstances(options: argparse.Namespace) -> page.Circumstances:
    return page.Circumstances(
        date=time.strftime('%Y-%m-%d'),
        processor=_processor(),
        processors=len(os.sched_getaffinity(0)),
        kernel=platform.release(),
        python=platform.python_version(),
        rounds=options.rounds,
        seconds=options.seconds,
        connections=options.connections,
        command=_command(options),
    )


def _command(options: argparse.Namespace) -> str:
    """What measures the same again: the options that aren't as they'd be anyway, and not those that name places."""
    words = ['scripts/bench']
    for name in ('cases', 'servers', 'rounds', 'seconds', 'connections'):
        value = getattr(options, name)
        if value != _parser().get_default(name):
            words += [f'--{name}', ','.join(value) if isinstance(value, list) else str(value)]
    return shlex.join(words)


def _write(
    folder: Path,
    results: report.Results,
    served: list[cases.Case],
    labels: dict[str, str],
    run: page.Circumstances,
    remarks: list[str],
) -> None:
    """The table as a page, and beside it the picture that it shows."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {case.name: case.about for case in served}
    (folder / page.PAGE).write_text(page.page(results, about, labels, run, remarks))
    drawn = picture.draw(results, served, list(labels), servers.OURS, servers.BARE, [run.where, run.how])
    (folder / page.PICTURE).write_text(drawn)


def _processor() -> str:
    for line in Path('/proc/cpuinfo').read_text().splitlines():
        if line.startswith('model name'):
            return line.partition(':')[2].strip()
    return platform.machine()


def _document(run: page.Circumstances, versions: dict[str, str]) -> dict[str, Any]:
    return {
        **dataclasses.asdict(run),
        'versions': {
            name: versions[name] for server in servers.SERVERS for name in server.distributions if name in versions
        },
    }
