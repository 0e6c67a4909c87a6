"""RabbitMQ's six tutorials, their programs started as the tutorials say, with pika and with lapin; with --long one
program each for Node's amqplib and for the Java client (issue 4, "Proof").

The programs are in tests/amqp-clients/. They print the same lines, so the same tests read them.
"""

import sys

import pytest

from harness import ROOT
from prepared import prepared, rust_client
from programs import Program

pytestmark = [pytest.mark.amqp, pytest.mark.timeout(300)]

CLIENTS = ROOT / "tests" / "amqp-clients"


def pika(name):
    return [sys.executable, str(CLIENTS / "pika" / f"{name}.py")]


def lapin(name):
    return [rust_client(CLIENTS / "lapin"), name]


@pytest.fixture(params=[pika, lapin], ids=["pika", "lapin"])
def start(request, broker):
    """start("worker", arguments…) runs one of the tutorials' programs against a fresh broker."""
    running = []

    def starting(name, *arguments, **environment):
        address = f"amqp://guest:guest@127.0.0.1:{broker.ports['amqp']}/%2F"
        running.append(Program(request.param(name) + list(arguments), AMQP_URL=address, **environment))
        return running[-1]

    def waiting(name, *arguments, **environment):
        program = starting(name, *arguments, **environment)
        program.line("^waiting$")
        return program

    starting.waiting = waiting
    yield starting
    for program in running:
        program.kill()


def test_hello_world(start):
    receiver = start.waiting("receive")
    for _ in range(2):
        assert start("send").finish() == ["sent Hello World!"]
    receiver.line("^received Hello World!$", 2)


def test_hello_world_waits_for_its_receiver(start):
    start("send").finish()
    start("receive").line("^received Hello World!$")


def test_work_queues_take_turns(start):
    workers = [start.waiting("worker", DOT_SECONDS="0") for _ in range(2)]
    for number in range(6):
        start("new_task", f"task {number}...").finish()
        workers[number % 2].line(f"^done task {number}...$")
    assert [worker.said("done") for worker in workers] == [[f"task {number}..." for number in turns]
                                                           for turns in ((0, 2, 4), (1, 3, 5))]


def test_work_queues_pass_by_who_is_busy(start):
    slow = start.waiting("worker", DOT_SECONDS="1000")
    start("new_task", "heavy.").finish()
    slow.line("^received heavy.$")
    quick = start.waiting("worker", DOT_SECONDS="0")
    for number in range(5):
        start("new_task", f"light {number}.").finish()
    quick.line("^done light 4.$")
    assert quick.said("done") == [f"light {number}." for number in range(5)]
    assert slow.said("received") == ["heavy."]


def test_work_queues_give_a_killed_workers_task_to_another(start):
    doomed = start.waiting("worker", DOT_SECONDS="1000")
    start("new_task", "precious.").finish()
    doomed.line("^received precious.$")
    other = start.waiting("worker", DOT_SECONDS="0")
    start("new_task", "another.").finish()
    other.line("^done another.$")
    doomed.kill()
    other.line("^done precious.$")
    assert other.said("done") == ["another.", "precious."]


def test_publish_subscribe(start):
    receivers = [start.waiting("receive_logs") for _ in range(3)]
    start("emit_log", "first", "line").finish()
    receivers[0].line("^received first line$")
    receivers[0].kill()
    start("emit_log").finish()
    for receiver in receivers[1:]:
        receiver.line("^received info: Hello World!$")
        assert receiver.said("received") == ["first line", "info: Hello World!"]
    assert receivers[0].said("received") == ["first line"]


def test_publish_subscribe_without_subscribers(start):
    assert start("emit_log", "nobody hears this").finish() == ["sent nobody hears this"]
    late = start.waiting("receive_logs")
    start("emit_log", "this they do").finish()
    late.line("^received this they do$")
    assert late.said("received") == ["this they do"]


def test_routing(start):
    everything = start.waiting("receive_logs_direct", "info", "warning", "error")
    errors = start.waiting("receive_logs_direct", "error")
    for severity in ("info", "warning", "error", "debug"):
        start("emit_log_direct", severity, "a line of", severity).finish()
    start("emit_log_direct", "error", "the end").finish()
    errors.line("^received error: the end$")
    everything.line("^received error: the end$")
    assert errors.said("received") == ["error: a line of error", "error: the end"]
    assert everything.said("received") == [
        "info: a line of info", "warning: a line of warning", "error: a line of error", "error: the end"]


def test_topics(start):
    listeners = {name: start.waiting("receive_logs_topic", *patterns) for name, patterns in {
        "all": ["#"], "kernel": ["kern.*"], "critical": ["*.critical"], "both": ["kern.*", "*.critical"]}.items()}
    for key in ("kern.critical", "kern.info", "cron.critical", "kern.disk.info", "anonymous"):
        start("emit_log_topic", key, "A", key).finish()
    start("emit_log_topic", "kern.critical", "end").finish()
    expected = {
        "all": ["kern.critical", "kern.info", "cron.critical", "kern.disk.info", "anonymous"],
        "kernel": ["kern.critical", "kern.info"], "critical": ["kern.critical", "cron.critical"],
        "both": ["kern.critical", "kern.info", "cron.critical"]}
    for name, listener in listeners.items():
        listener.line("end$")
        assert listener.said("received") == [f"{key}: A {key}" for key in expected[name]] + ["kern.critical: end"]


def test_remote_procedure_calls(start):
    server = start.waiting("rpc_server")
    clients = [start("rpc_client", str(n)) for n in (20, 5, 0)]
    assert [client.finish() for client in clients] == [["fib(20) = 6765"], ["fib(5) = 5"], ["fib(0) = 0"]]
    server.line("asked for", 3)
    assert sorted(server.said("asked")) == ["for fib(0)", "for fib(20)", "for fib(5)"]


# What each of the whole-tour programs says in the end, whatever the client.
TOUR = ["hello: Hello World!", "work: 3 and 3 in turns, heavy stayed alone", "redelivered: precious",
        "logs: 2 heard it", "routing: error", "topics: cron.critical kern.critical kern.info",
        "rpc: fib(20) = 6765", "direct reply-to: fib(10) = 55", "confirmed: 100, returned: 1", "refused: 406 404",
        "all done"]


def whole_tour(command, broker, cwd):
    address = f"amqp://guest:guest@127.0.0.1:{broker.ports['amqp']}/%2F"
    program = Program(command, cwd=cwd, AMQP_URL=address)
    try:
        assert program.finish(120) == TOUR
    finally:
        program.kill()


def test_amqplib(long, broker):
    if not long:
        pytest.skip("with --long")
    sources = [CLIENTS / "node" / name for name in ("package.json", "tutorials.js")]
    folder = prepared("node", sources, ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"])
    whole_tour(["node", "tutorials.js"], broker, folder)


def test_java(long, broker):
    if not long:
        pytest.skip("with --long")
    sources = [CLIENTS / "java" / name for name in ("pom.xml", "Tutorials.java")]
    folder = prepared("java", sources, ["mvn", "-q", "-B", "package"])
    whole_tour(["java", "-cp", "target/classes:target/dependency/*", "Tutorials"], broker, folder)
