"""What was measured, as a table for people and as JSON for programs.  Pure: samples in, text out."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

from benchlib.wrk import Sample

Key = tuple[str, str]  # the names of a case and of a server


@dataclass
class Results:
    """The samples of each case and server, in order of the rounds; why some took no part; what went wrong."""

    samples: dict[Key, list[Sample]] = field(default_factory=dict)
    excuses: dict[Key, str] = field(default_factory=dict)
    failures: dict[Key, str] = field(default_factory=dict)

    def add(self, case: str, server: str, sample: Sample) -> None:
        self.samples.setdefault((case, server), []).append(sample)

    def excuse(self, case: str, server: str, text: str) -> None:
        self.excuses[case, server] = text

    def fail(self, case: str, server: str, text: str) -> None:
        """``text`` says what went wrong, after what went wrong before."""
        earlier = self.failures.get((case, server))
        self.failures[case, server] = f'{earlier}; {text}' if earlier else text

    def median(self, case: str, server: str) -> float | None:
        """Requests a second, or None where nothing was measured."""
        samples = self.samples.get((case, server))
        return statistics.median(sample.rate for sample in samples) if samples else None

    def ratio(self, case: str, server: str, ours: str) -> float | None:
        """Our median over this server's; None where there is none of either, or for ourselves."""
        median, our_median = self.median(case, server), self.median(case, ours)
        if server == ours or not median or our_median is None:
            return None
        return our_median / median

    def fast_p99(self, case: str, server: str) -> float | None:
        """The fast requests' 99th percentile of latency in milliseconds; None where it wasn't measured."""
        found = [sample.fast['99'] / 1000 for sample in self.samples.get((case, server), []) if sample.fast]
        return statistics.median(found) if found else None

    def errors(self, case: str, server: str) -> dict[str, int]:
        """Socket errors, timeouts and bad statuses of all rounds together, by kind."""
        total: dict[str, int] = {}
        for sample in self.samples.get((case, server), []):
            for kind, count in sample.errors.items():
                total[kind] = total.get(kind, 0) + count
        return total


def table(results: Results, cases: list[str], labels: dict[str, str], ours: str) -> str:
    """Servers down (``labels``: what to call each), cases across: the median, and our ratio to it.

    ``!`` marks failures and errors, ``-`` what was not measured.  A case that tells the fast requests' latency has
    a second column for it.
    """
    columns = [['requests/s', *labels.values()]]
    for case in cases:
        columns.append([case, *(_cell(results, case, server, ours) for server in labels)])
        times = [milliseconds(results.fast_p99(case, server)) for server in labels]
        if any(times):
            columns.append(['p99', *(time or '-' for time in times)])
    rows = list(zip(*columns, strict=True))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return '\n'.join(
        '  '.join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows
    )


def _cell(results: Results, case: str, server: str, ours: str) -> str:
    mark = '!' if (case, server) in results.failures or results.errors(case, server) else ' '
    median = results.median(case, server)
    if median is None:
        return f'-{mark}'
    return f'{median:,.0f}{mark}{_times(results.ratio(case, server, ours)):>7}'


def milliseconds(time: float | None) -> str:
    return '' if time is None else f'{time:.1f} ms'


def _times(ratio: float | None) -> str:
    if ratio is None:
        return ''
    return f'x{ratio:.2f}' if ratio < 9.995 else f'x{ratio:.1f}'


def remarks(results: Results, labels: dict[str, str]) -> list[str]:
    """A line for each thing that the table's figures don't tell, the cases that share it together."""
    cases: dict[tuple[str, str], list[str]] = {}
    for (case, server), samples in results.samples.items():
        for text in _sample_remarks(samples, results.errors(case, server)):
            cases.setdefault((server, text), []).append(case)
    for (case, server), text in [*results.failures.items(), *results.excuses.items()]:
        cases.setdefault((server, text), []).append(case)
    return [f'{labels[server]} ({", ".join(names)}): {text}' for (server, text), names in cases.items()]


def _sample_remarks(samples: list[Sample], errors: dict[str, int]) -> list[str]:
    found = []
    if errors:
        counts = ', '.join(f'{count} {"bad status" if kind == "status" else kind}' for kind, count in errors.items())
        found.append(f'errors: {counts} in {sum(sample.requests for sample in samples)} requests')
    if sum(sample.cores.wrk_bounds for sample in samples) * 2 > len(samples):
        found.append('bounded by wrk, which had no time left while the server had: it may be faster than this')
    return found


def unrest(results: Results, labels: dict[str, str]) -> str:
    """How much the rounds of one case and server differ where they differ most; '' if by less than a tenth."""
    worst, key = 1.0, ('', '')
    for candidate, samples in results.samples.items():
        rates = [sample.rate for sample in samples]
        if min(rates) and max(rates) / min(rates) > worst:
            worst, key = max(rates) / min(rates), candidate
    if worst < 1.1:
        return ''
    case, server = key
    return f'rounds differ by up to {worst - 1:.0%} ({labels[server]}, {case}); on a quiet machine by less'


def as_json(results: Results, ours: str) -> dict[str, Any]:
    """All of it: ``{case: {server: {median, ratio, errors, failure, excuse, samples}}}``, latencies in microseconds.

    ``fast_p99`` is in milliseconds, as it is in the table.
    """
    document: dict[str, Any] = {}
    for case, server in {**results.samples, **results.failures, **results.excuses}:
        samples = results.samples.get((case, server), [])
        document.setdefault(case, {})[server] = {
            'median': results.median(case, server),
            'ratio': results.ratio(case, server, ours),
            'fast_p99': results.fast_p99(case, server),
            'errors': results.errors(case, server),
            'failure': results.failures.get((case, server), ''),
            'excuse': results.excuses.get((case, server), ''),
            'samples': [
                {
                    'rate': sample.rate,
                    'requests': sample.requests,
                    'latency': sample.latency,
                    'fast': sample.fast,
                    'wrk_busy': round(sample.cores.load, 3),
                    'server_idle': round(sample.cores.idle, 3),
                }
                for sample in samples
            ],
        }
    return document
