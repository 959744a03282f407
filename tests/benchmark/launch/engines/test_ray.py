"""The Ray engine on a cluster that is only played: resources, lost nodes, failures, time, and what is printed."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest

from benchmark.launch.config import RayConfig
from benchmark.launch.engine import LaunchContext
from benchmark.launch.engines.ray import RayEngine
from benchmark.launch.exit_codes import DONE, ELSEWHERE, FAILED, STOPPED
from benchmark.launch.job import job_graph
from benchmark.launch.lease import Lease
from benchmark.launch.ray import places, run
from benchmark.launch.time_limit import TimeLimit


class ActorError(Exception):
    """As Ray raises it for a lost actor."""


class Unavailable(ActorError):
    """As Ray raises it before it knows."""


class TaskError(Exception):
    """As Ray raises it for an exception in a call."""


class Call:
    """A reference to an answer of an actor."""

    def __init__(self, actor, method, arguments):
        self.actor, self.method, self.arguments = actor, method, arguments


class Actor:
    """Plays a `Place`: `script` says what its calls answer, an exception is raised."""

    def __init__(self, cluster, script):
        self.cluster, self.script, self.killed, self.stopped = cluster, {"host": "node", "start": None} | script, 0, 0

    def __getattr__(self, method):
        return SimpleNamespace(remote=lambda *arguments: self.call(method, arguments))

    def call(self, method, arguments):
        if method == "start":
            self.cluster.started.append((" ".join(arguments[0]), arguments[1]["OMP_NUM_THREADS"]))
        if method == "stop":
            self.stopped += 1
            self.script |= {"more": ([], STOPPED)}
        return Call(self, method, arguments)


class Ray:
    """Plays the package and a cluster; each actor takes the next script."""

    exceptions = SimpleNamespace(RayActorError=ActorError, ActorUnavailableError=Unavailable, RayTaskError=TaskError)

    def __init__(self, scripts, node):
        self.scripts, self.node = itertools.chain(scripts, itertools.repeat({"more": ([], DONE)})), node
        self.actors, self.options, self.started, self.asked = [], [], [], []

    def init(self, **_):
        pass

    def shutdown(self):
        pass

    def nodes(self):
        return [{"Alive": True, "Resources": self.node}, {"Alive": False, "Resources": {"CPU": 99, "GPU": 99}}]

    def cluster_resources(self):
        return self.node

    def remote(self, _):
        return SimpleNamespace(options=lambda **options: SimpleNamespace(remote=lambda: self._actor(options)))

    def _actor(self, options):
        self.options.append(options)
        self.actors.append(Actor(self, next(self.scripts)))
        return self.actors[-1]

    def wait(self, calls, *, num_returns, timeout):
        ready = [call for call in calls if call.method not in call.actor.script.get("silent", ())]
        return ready[:num_returns], []

    def get(self, call):
        self.asked.append((call.method, call.arguments))
        answer = call.actor.script[call.method]
        if isinstance(answer, list):
            answer = answer.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def kill(self, actor):
        actor.killed += 1


@pytest.fixture
def play(tmp_path, monkeypatch):
    """Return a function that runs orders on a played cluster and returns it, the outcome and the lines."""
    monkeypatch.setattr(run, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(places, "UNAVAILABLE_SECONDS", 0.01)

    def play(orders, scripts=(), *, device="cpu", node=None, limit=None):
        ray, lines = Ray(scripts, node or {"CPU": 4.0}), []
        with RayEngine(ray, RayConfig(), LaunchContext(tmp_path / "out", device, 1, 1)) as engine:
            outcome = engine.run(job_graph(orders), limit=limit or TimeLimit(), say=lines.append)
        assert all(actor.killed for actor in ray.actors)
        return ray, outcome, lines

    return play


def heads(lines):
    return [line.split()[0] for line in lines]


def test_each_job_gets_its_resources_and_its_lines_are_shown_and_kept(play, tiny_order):
    order = tiny_order()
    scripts = [{"more": [(["one", "two"], None), (["three"], DONE)]}]
    ray, outcome, lines = play([order], scripts)

    assert (outcome.failed, outcome.left) == ((), ())
    assert {name: ray.options[0][name] for name in ("num_cpus", "num_gpus", "max_restarts", "max_task_retries")} == {
        "num_cpus": 1,
        "num_gpus": 0,
        "max_restarts": 0,
        "max_task_retries": 0,
    }
    assert ray.started == [(f"-P -m benchmark.launch.worker {order.path} --with-parent", "1")]
    assert [arguments[0] for method, arguments in ray.asked if method == "more"] == [0, 2]
    assert lines[0] == f"start  {order.experiment.run}  on node" and heads(lines) == [
        "start",
        *["at/fp-keep1-clean/lbn/seed0-" + order.experiment.run_hash[:6]] * 3,
        "done",
    ]
    assert (order.folder / "log.txt").read_text() == "one\ntwo\nthree\n"


def test_on_gpus_the_whole_group_is_only_for_training(play, tiny_order):
    order = tiny_order(shards=2).model_copy(update={"processes": 4})
    assert [each["num_gpus"] for each in play([order], device="cuda", node={"CPU": 8, "GPU": 4})[0].options] == [
        4,
        1,
        1,
        1,
    ]
    assert [each["num_gpus"] for each in play([tiny_order(seed=1)], device="auto", node={"GPU": 1})[0].options] == [1]
    assert [each["num_gpus"] for each in play([tiny_order(seed=2)], device="auto")[0].options] == [0]


def test_what_no_node_has_is_said(play, tiny_order):
    _, _, lines = play([tiny_order()], device="cuda")

    assert lines[0].startswith("note: no node of the cluster has 1 CPU and 1 GPU at present")


@pytest.mark.parametrize(
    "script",
    [
        {"host": ActorError("gone")},
        {"start": ActorError("gone")},
        {"more": [([], None), ActorError("gone")]},
        {"more": ([], STOPPED)},  # somebody drains the node
    ],
)
def test_the_job_of_a_lost_node_runs_again(play, tiny_order, script):
    ray, outcome, lines = play([tiny_order()], [script])

    assert len(ray.actors) == 2 and (outcome.failed, outcome.left) == ((), ())
    assert [head for head in heads(lines) if head in ("again", "done")] == ["again", "done"]


def test_a_job_that_brings_down_every_node_fails(play, tiny_order):
    ray, outcome, lines = play([tiny_order()], [{"more": ActorError("gone\nmore")}] * 50)

    assert len(ray.actors) == run.MOST_LOSSES + 1 and len(outcome.failed) == 1
    assert "node was lost (gone), the last of 6 nodes" in lines[-1]


def test_an_actor_that_cannot_be_reached_for_a_moment_is_asked_again(play, tiny_order):
    script = {"more": [(["one"], None), Unavailable(), Unavailable(), (["two"], DONE)]}
    ray, outcome, lines = play([tiny_order()], [script])

    assert [arguments[0] for method, arguments in ray.asked if method == "more"] == [0, 1, 1, 1]
    assert len(ray.actors) == 1 and "again" not in heads(lines) and outcome.failed == ()


@pytest.mark.parametrize(
    "script",
    [
        {"more": (["no memory"], FAILED)},
        {"more": ([], -9)},
        {"start": "node has no such folder"},
        {"start": TaskError("trace\nno python")},
    ],
)
def test_a_failure_is_not_tried_again_and_what_needs_it_is_not_run(play, tiny_order, script):
    order = tiny_order(shards=2)
    ray, outcome, lines = play([order], [script])

    assert len(ray.actors) == 1 and outcome.failed == (order.experiment.run,)
    assert heads(lines)[-4:] == ["FAILED", "not", "not", "not"]


def test_what_runs_elsewhere_is_waited_for(play, tiny_order, monkeypatch):
    order = tiny_order()
    order.save()
    lease = Lease(order.folder / "lease-run.json", "whole", 60)
    monkeypatch.setattr(run.time, "sleep", lambda _: lease.release())
    _, outcome, lines = play([order], [{"more": ([], ELSEWHERE)}])

    assert heads(lines) == ["elsewhere", "start", "start", "done"] and outcome.failed == ()


def test_when_the_time_is_up_workers_save_their_state_and_the_rest_is_left(play, tiny_order):
    now = itertools.count()  # a second passes at every look
    limit = TimeLimit(20, clock=lambda: float(next(now)))
    orders = [tiny_order(seed=seed) for seed in range(3)]
    scripts = [{"more": (["."], None)}, {"silent": ["host"]}, {"silent": ["host"]}]
    ray, outcome, lines = play(orders, scripts, limit=limit)

    assert outcome.left == tuple(order.experiment.run for order in (orders[1], orders[2], orders[0]))
    assert [actor.stopped for actor in ray.actors] == [1, 0, 0] and heads(lines)[-1] == "stopped"
    assert "--seconds-left" in ray.started[0][0]


def test_ctrl_c_ends_the_actors_of_this_run(play, tiny_order, monkeypatch):
    made = []
    monkeypatch.setattr(
        Ray, "wait", lambda self, *_, **__: made.append(self) or (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        play([tiny_order()])

    assert [actor.killed for actor in made[0].actors] == [1]
