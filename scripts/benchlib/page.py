"""A run as a page of Markdown, with its circumstances, its table and its picture.  Pure: text out."""

from __future__ import annotations

from dataclasses import dataclass

from benchlib.report import Results, milliseconds

PAGE, PICTURE = 'results.md', 'results.svg'
"""The names of the two files in the folder that they are written to."""


@dataclass(frozen=True)
class Circumstances:
    """When, where and how was measured."""

    date: str
    processor: str
    processors: int
    kernel: str
    python: str
    rounds: int
    seconds: int
    connections: int
    command: str

    @property
    def where(self) -> str:
        processors = _counted(self.processors, 'processor')
        return f'{self.date}, {self.processor}, {processors}, Linux {self.kernel}, Python {self.python}'

    @property
    def how(self) -> str:
        return (
            f'one worker on one core, wrk on another, {_counted(self.connections, "connection")}, '
            f'median of {_counted(self.rounds, "round")} of {self.seconds} s'
        )


def _counted(number: int, thing: str) -> str:
    return f'{number} {thing}' if number == 1 else f'{number} {thing}s'


def page(
    results: Results, cases: dict[str, str], labels: dict[str, str], run: Circumstances, remarks: list[str]
) -> str:
    """``cases`` are what each is about by its name, ``labels`` what to call each server."""
    lines = [
        '# prefork beside other servers',
        '',
        f'{run.where}; {run.how}. Measured by `{run.command}`.',
        '',
        f'![Requests a second, as multiples of those of prefork]({PICTURE})',
        '',
        table(results, list(cases), labels),
        '',
        *(f'- **{name}**: {about}' for name, about in cases.items()),
    ]
    if remarks:
        lines += ['', 'What the figures do not tell:', '', *(f'- {remark}' for remark in remarks)]
    return '\n'.join(lines) + '\n'


def table(results: Results, cases: list[str], labels: dict[str, str]) -> str:
    """Medians: servers down, cases across; ``!`` marks failures and errors, and what was not measured is empty.  A case
    that tells the fast requests' latency has a second column for it."""
    columns = [['requests/s', *labels.values()]]
    for case in cases:
        columns.append([case, *(_cell(results, case, server) for server in labels)])
        times = [milliseconds(results.fast_p99(case, server)) for server in labels]
        if any(times):
            columns.append(['p99', *times])
    heading, *rows = (f'| {" | ".join(row)} |' for row in zip(*columns, strict=True))
    return '\n'.join([heading, f'|---|{"---:|" * (len(columns) - 1)}', *rows])


def _cell(results: Results, case: str, server: str) -> str:
    median = results.median(case, server)
    text = '' if median is None else f'{median:,.0f}'
    return text + ('!' if (case, server) in results.failures or results.errors(case, server) else '')
