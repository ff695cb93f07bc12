"""The master's policy against a world that does its worst: whatever happens in whatever order, some things hold."""

from __future__ import annotations

import json
import signal
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from prefork.master import orders
from prefork.master.generation import Phase, Plan
from prefork.master.orders import Backlog, Key, Order, Preload
from prefork.master.report import State
from prefork.master.supervisor import Supervisor

LOAD, GRACE = 60.0, 30.0
PLANS = st.builds(
    lambda api, admin, preload: Plan({'api': api} | ({'admin': admin} if admin else {}), LOAD, GRACE, preload),
    st.integers(1, 3),
    st.integers(0, 2),
    st.sampled_from([Preload.AUTO, Preload.NEVER]),
)


class Process:
    """A process of this world.  ``state`` is what it really does, whatever the supervisor thinks."""

    def __init__(self, pid: int, owner: int | Key) -> None:
        self.pid = pid
        self.owner = owner
        self.state = 'starting'  # ready, draining; dead: not reaped yet
        self.told = False  # a worker: whether the supervisor knows its pid
        self.aborted = False  # it has been sent SIGABRT, and nobody counts on it any more
        self.stopped = False  # by a signal: it does nothing at all


class World(RuleBasedStateMachine):
    """Carries the orders out as a kernel, molds and workers would, badly wherever a rule says so."""

    def __init__(self) -> None:
        super().__init__()
        self.boss = Supervisor()
        self.now = 0.0
        self.pids = iter(range(100, 1_000_000))
        self.processes: dict[int, Process] = {}  # until they are reaped
        self.molds: dict[int, Process] = {}
        self.asked: list[Key] = []  # spawns that a mold hasn't heard of yet
        self.held: set[Key] = set()  # between Spawn and Release
        self.serving: set[Key] = set()  # those that have been said to be ready, and were not told to go
        self.kinds: dict[int, Preload] = {}
        self.status: int | None = None
        self.stopping = False
        self.plan: Plan | None = None  # what the configuration says
        self.unreadable = False  # whether it says anything
        self.verifier = 0  # the pid of who verifies another binary
        self.verifier_status = 0  # as it will end
        self.unfit = False  # whether the exec will fail

    @property
    def resting(self) -> bool:
        """Whether no worker is wanted: since it was told to rest, and no reload that came to something woke it."""
        current = self.boss._fleet.current
        return current is not None and not any(current.targets.values())

    # --- carrying out ---------------------------------------------------------------------------------------------

    def obey(self, given: list[Order]) -> None:
        queue = list(given)
        while queue:
            order = queue.pop(0)
            if isinstance(order, orders.HandOver) and queue:
                queue.append(order)
                continue
            assert self.status is None, f'{order} after the end'
            act = getattr(self, f'do_{type(order).__name__}', None)
            if act is not None:
                queue += act(order) or []

    def tell(self, event: str, *values: Any) -> None:
        self.obey(getattr(self.boss, event)(self.now, *values))

    def new(self, owner: int | Key) -> Process:
        process = Process(next(self.pids), owner)
        self.processes[process.pid] = process
        return process

    def do_StartMold(self, order: orders.StartMold) -> list[Order]:
        number = order.generation
        assert number not in self.molds or self.molds[number].state == 'dead', 'two molds of one generation'
        self.molds[number] = self.new(number)
        self.kinds[number] = order.preload
        return self.boss.mold_started(self.now, number, self.molds[number].pid)

    def do_Verify(self, order: orders.Verify) -> list[Order]:
        assert not self.verifier
        self.verifier = next(self.pids)
        self.verifier_status = 0
        return self.boss.verifying(self.now, self.verifier)

    def do_HandOver(self, order: orders.HandOver) -> list[Order]:
        if not self.boss.handing_over:
            return []
        if self.unfit:
            return self.boss.not_upgraded(self.now, 'no such file')
        assert not self.molds
        assert not self.asked
        assert not self.verifier
        alive = [each for each in self.processes.values() if each.state != 'dead']
        assert all(each.told and each.owner in self.held for each in alive), "it would be nobody's child"
        legacy = json.loads(json.dumps(self.boss.bequeath()))
        self.boss = Supervisor()
        return self.boss.adopt(self.now, legacy)

    def do_Reread(self, order: orders.Reread) -> list[Order]:
        assert self.plan is not None
        if self.unreadable:
            return self.boss.not_reloaded(self.now, 'unreadable')
        self.wanted &= frozenset(self.plan.workers)
        return self.boss.reload(self.now, self.plan)

    def do_Spawn(self, order: orders.Spawn) -> None:
        assert not self.boss.handing_over
        assert order.key not in self.held, 'two workers of one key'
        assert not self.stopping
        self.held.add(order.key)
        self.asked.append(order.key)

    def do_Release(self, order: orders.Release) -> None:
        assert order.key in self.held
        self.asked = [key for key in self.asked if key != order.key]
        for process in [each for each in self.processes.values() if each.owner == order.key]:
            assert process.state == 'dead' or not process.told, 'released while it lives'
            if not process.told:  # it finds nobody there to tell, and goes
                del self.processes[process.pid]
        self.held.remove(order.key)
        self.serving.discard(order.key)

    def do_Kill(self, order: orders.Kill) -> None:
        if order.pid == self.verifier:
            self.verifier_status = int(order.signal)
            return
        process = self.processes[order.pid]  # KeyError: it has been reaped
        if isinstance(process.owner, tuple):
            if order.signal == signal.SIGABRT:  # it doesn't answer, whoever else there is
                self.serving.discard(process.owner)
                process.aborted = True
            self.let_go(process.owner, Backlog.LEAVE)
        if order.signal == signal.SIGCONT:
            process.stopped = False
            if process.aborted:  # before that, as it must show its stacks
                process.state = 'dead'
        elif order.signal == signal.SIGKILL or (order.signal == signal.SIGTERM and process.state == 'starting'):
            process.state = 'dead'
        elif process.state == 'ready':
            process.state = 'draining'

    def do_Drain(self, order: orders.Drain) -> None:
        self.let_go(order.key, order.backlog)
        if order.backlog is Backlog.ACCEPT:
            left = [
                process
                for process in self.processes.values()
                if process.state == 'starting' or process.owner in self.molds
            ]
            assert not left, 'somebody else still has the listeners'
        for process in self.processes.values():
            if process.owner == order.key and process.state == 'ready':
                process.state = 'draining'

    def let_go(self, key: Key, backlog: Backlog) -> None:
        if key not in self.serving:
            return
        self.serving.remove(key)
        others = {other for other in self.serving if other[0] == key[0]}
        if not self.stopping and not self.resting and backlog is Backlog.LEAVE and key[0] in self.wanted:
            assert others, f'nobody serves {key[0]} when {key} is let go'

    def do_Quit(self, order: orders.Quit) -> None:
        assert self.stopping
        self.serving.discard(order.key)

    def do_CloseListeners(self, order: orders.CloseListeners) -> None:
        assert not self.stopping
        self.stopping = True

    def do_Exit(self, order: orders.Exit) -> None:
        assert self.stopping
        assert not self.processes
        assert not self.held
        assert not self.verifier
        self.status = order.status

    # --- what the operator does -----------------------------------------------------------------------------------

    wanted: frozenset[str] = frozenset()  # servers that every plan so far had

    @initialize(plan=PLANS, turns=st.sampled_from([0, 100, 100]))
    def start(self, plan: Plan, turns: int) -> None:
        self.wanted = frozenset(plan.workers)
        self.plan = plan
        self.tell('reload', plan)
        while turns and self.step():
            turns -= 1

    def running(self) -> bool:
        return self.status is None

    @precondition(running)
    @rule(plan=PLANS)
    def reload(self, plan: Plan) -> None:
        self.plan, self.unreadable = plan, False
        self.tell('hung_up')

    @precondition(running)
    @rule(plan=PLANS, unreadable=st.booleans())
    def edit(self, plan: Plan, unreadable: bool) -> None:
        self.plan, self.unreadable = plan, unreadable

    @precondition(running)
    @rule(unfit=st.sampled_from([False, False, True]))
    def upgrade(self, unfit: bool) -> None:
        self.unfit = unfit
        if self.boss.running:
            self.tell('upgrade')

    @precondition(running)
    @rule(fate=st.sampled_from([0, 0, 0, 78 << 8]))
    def verify(self, fate: int) -> None:
        if self.verifier:
            self.verifier = 0
            self.tell('verified', self.verifier_status or fate, 'boom' if fate else '')

    @precondition(running)
    @rule(difference=st.sampled_from([1, -1]))
    def resize(self, difference: int) -> None:
        self.tell('resize', difference)

    @precondition(running)
    @rule(luck=st.integers(0, 4))
    def rest(self, luck: int) -> None:
        if not luck:
            self.tell('rest')

    @precondition(running)
    @rule(how=st.sampled_from(['stop', 'quit']), luck=st.integers(0, 9))
    def stop(self, how: str, luck: int) -> None:
        if luck == 7:  # a number that isn't tried more often than others
            self.tell(how)

    # --- what processes do ----------------------------------------------------------------------------------------

    def choose(self, data: st.DataObject, found: list[Process]) -> Process | None:
        return data.draw(st.sampled_from(found)) if found else None

    @precondition(running)
    @rule(data=st.data(), fate=st.sampled_from(['loaded', 'loaded', 'loaded', 'failed', 'unsafe', 'dies']))
    def load(self, data: st.DataObject, fate: str) -> None:
        mold = self.choose(data, [mold for mold in self.molds.values() if mold.state == 'starting'])
        if mold is None:
            return
        assert isinstance(mold.owner, int)
        if fate == 'loaded' or self.kinds[mold.owner] is Preload.NEVER:
            mold.state = 'ready'
            self.tell('mold_loaded', mold.owner, 0.1)
            return
        mold.state = 'dead'
        if fate == 'failed':
            self.tell('mold_failed', mold.owner, 'boom')
        elif fate == 'unsafe':
            self.tell('mold_unsafe', mold.owner, ['a thread'])

    @precondition(running)
    @rule(fate=st.sampled_from(['forks', 'forks', 'forks', 'cannot', 'dies unheard', 'hangs']))
    def fork(self, fate: str) -> None:
        if self.asked:
            self.fork_next(fate)

    def fork_next(self, fate: str) -> None:
        key = self.asked.pop(0)
        mold = self.molds.get(key[1])
        if mold is None or mold.state != 'ready' or fate == 'cannot':
            self.tell('unspawned', key, 'cannot be forked')
            return
        if fate == 'hangs':  # nobody will ever hear of it
            return
        worker = self.new(key)
        if fate == 'dies unheard':
            worker.state = 'dead'

    @precondition(running)
    @rule(
        data=st.data(), fate=st.sampled_from(['spawned', 'ready', 'ready', 'failed', 'asked', 'worn', 'done', 'dies'])
    )
    def work(self, data: st.DataObject, fate: str) -> None:
        workers = [each for each in self.processes.values() if isinstance(each.owner, tuple) and not each.stopped]
        worker = self.choose(data, workers)
        if worker is None or not isinstance(worker.owner, tuple):
            return
        self.say_pid(worker)
        if worker.state == 'dead' or self.status is not None:
            return
        if fate == 'ready' and worker.state == 'starting':
            self.become_ready(worker)
        elif fate == 'failed' and worker.state == 'starting':
            worker.state = 'dead'
            self.tell('failed', worker.owner, 'boom')
        elif fate == 'asked' and worker.state == 'ready':
            self.serving.discard(worker.owner)  # whoever else there is: somebody wants it to go
            self.tell('asked', worker.owner)
        elif fate == 'worn' and worker.state in ('ready', 'draining'):
            self.tell('worn', worker.owner, 'enough')
        elif (fate == 'done' and worker.state == 'draining') or fate == 'dies':
            worker.state = 'dead'  # which nobody knows yet

    def say_pid(self, worker: Process) -> None:
        if not worker.told:
            worker.told = True
            self.tell('spawned', worker.owner, worker.pid)

    def become_ready(self, worker: Process) -> None:
        assert isinstance(worker.owner, tuple)
        worker.state = 'ready'
        if not worker.aborted:
            self.serving.add(worker.owner)
        self.tell('ready', worker.owner)

    @precondition(running)
    @rule(data=st.data())
    def stop_or_continue(self, data: st.DataObject) -> None:
        worker = self.choose(data, [each for each in self.processes.values() if each.told and each.state != 'dead'])
        if worker is None or not isinstance(worker.owner, tuple):
            return
        worker.stopped = not worker.stopped
        if worker.stopped:
            self.serving.discard(worker.owner)
        elif worker.state == 'ready' and not worker.aborted and not self.boss.running:
            self.serving.add(worker.owner)  # it isn't drained: during an upgrade, the next master adopts it
        self.tell('stopped' if worker.stopped else 'continued', worker.pid)

    @precondition(running)
    @rule(data=st.data())
    def mold_dies(self, data: st.DataObject) -> None:
        mold = self.choose(data, [mold for mold in self.molds.values() if mold.state == 'ready'])
        if mold is not None:
            mold.state = 'dead'

    @precondition(running)
    @rule()
    def everybody_behaves(self) -> None:
        self.step()

    @precondition(running)
    @rule(data=st.data())
    def reap(self, data: st.DataObject) -> None:
        process = self.choose(data, [each for each in self.processes.values() if each.state == 'dead'])
        if process is not None:
            self.bury(process)

    def bury(self, process: Process) -> None:
        del self.processes[process.pid]
        if isinstance(process.owner, int) and self.molds.get(process.owner) is process:
            del self.molds[process.owner]
        self.tell('exited', process.pid, 9)
        if isinstance(process.owner, tuple):
            self.say_pid(process)  # what it said last is read after its death

    @precondition(running)
    @rule(answers=st.booleans())
    def time_passes(self, answers: bool) -> None:
        self.pass_time(answers)

    @precondition(lambda self: not self.running())
    @rule()
    def nothing_more(self) -> None:
        """It has ended: there has to be something that can be done."""

    def pass_time(self, answers: bool) -> None:
        deadline = self.boss.next_deadline()
        if deadline is None:
            return
        self.now = max(self.now, deadline)
        given = self.boss.tick(self.now)
        self.obey(given)
        if answers and self.status is None:
            for order in given:
                if isinstance(order, orders.Ping):
                    self.tell('pong', order.key)
        deadline = self.boss.next_deadline()
        assert deadline is None or deadline > self.now, 'the master would spin'

    # --- how it ends ----------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """From anywhere, if nothing goes wrong any more: what was wanted runs and nothing else, or all has ended."""
        self.unreadable = False
        for _ in range(400):
            if self.status is not None or not self.step():
                break
        if self.stopping:
            assert self.status is not None, 'it never ends'
            assert not self.processes
            return
        fleet = self.boss._fleet
        current = fleet.current
        assert current is not None
        assert fleet.candidate is None
        assert list(fleet.generations) == [current.number]
        for server, target in current.targets.items():
            assert len([key for key in self.serving if key[0] == server]) == target
        assert len(self.serving) == len(self.held) == sum(current.targets.values())
        assert len(self.processes) == len(self.held) + 1, 'workers and one mold, and nothing that is left over'
        report = self.boss.report(self.now)
        assert (report.state, report.until) == (State.READY, None)
        assert report.healthy

    def step(self) -> bool:
        """Let everybody do what is expected of them; whether there was anything to do."""
        busy = False
        while self.asked:
            self.fork_next('forks')
            busy = True
        if self.verifier:
            self.verify(0)
            busy = True
        for process in list(self.processes.values()):
            if self.status is None and process.pid in self.processes:
                busy |= self.behave(process)
        if busy or self.status is not None:
            return busy
        # Nobody has anything to do: time will tell, unless all that is left is to ask workers for signs of life.
        fleet = self.boss._fleet
        if self.stopping or fleet.candidate is not None or fleet.retry_at is not None or fleet.is_moldless():
            quiet = False
        else:
            quiet = all(process.phase is Phase.READY for process in fleet.processes())
        if not quiet:
            for key in list(self.serving):
                self.tell('pong', key)
            self.pass_time(answers=True)
        return not quiet

    def behave(self, process: Process) -> bool:
        if process.state == 'dead':
            self.bury(process)
        elif process.stopped:
            return False
        elif process.state == 'draining' or (self.stopping and isinstance(process.owner, tuple) and not self.molds):
            self.serving -= {process.owner}
            process.state = 'dead'
        elif isinstance(process.owner, int):
            if process.state != 'starting':
                return False
            process.state = 'ready'
            self.tell('mold_loaded', process.owner, 0.1)
        elif not process.told:
            self.say_pid(process)
        elif process.state == 'starting':
            self.become_ready(process)
        else:
            return False
        return True


TestInvariants = World.TestCase
TestInvariants.settings = settings(
    max_examples=120, stateful_step_count=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much]
)
