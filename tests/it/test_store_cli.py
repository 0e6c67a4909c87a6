"""`rialto store verify`, `export` and `backup` on what a broker with all three protocols leaves."""

import base64
import contextlib
import json
import signal
import socket
import stat
import subprocess
import threading

import pytest

from filled import BYTES, check, export, fill, filled_and_killed, of, session, store, tree, verify
from harness import binary, wait_until
from kafkaclients import committed
from rawmqtt import Client, Timeout

pytestmark = pytest.mark.rialto

CHECKPOINTS = "[checkpoint]\ninterval_s = 1\n"


@pytest.fixture
def filled(make_broker):
    return filled_and_killed(make_broker)


def begin_backup(broker):
    """A connection to the control socket that keeps the broker's files; the last record of the backup."""
    control = socket.socket(socket.AF_UNIX)
    control.connect(str(broker.data / "control.sock"))
    control.sendall(b"rialto-control 1 backup\n")
    reader = control.makefile("rb")
    return control, reader, json.loads(reader.readline())["begun"]["last_lsn"]


def test_a_whole_directory_is_whole_and_untouched(filled):
    before = tree(filled.data)
    said = verify(filled.data)
    assert "ok: " in said and "records to apply" in said, said
    assert tree(filled.data) == before
    done = subprocess.run([binary(), "store", "verify", "--data-dir", filled.data, "--quiet"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "" and done.stdout.startswith("ok: "), done
    filled.start()
    check(filled, 80)


def test_a_served_directory_is_left_alone(broker):
    for command in (["verify"], ["export"]):
        done = store(*command, "--data-dir", broker.data)
        assert done.returncode == (2 if command == ["verify"] else 1), done
        assert "in use" in done.stderr and "rialto store backup --to" in done.stderr, done.stderr


def test_what_is_no_data_directory_is_refused_and_stays_so(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder in (empty, tmp_path / "missing"):
        for command in (["verify"], ["export"], ["backup", "--to", tmp_path / "copy"]):
            done = store(*command, "--data-dir", folder)
            assert done.returncode == (2 if command == ["verify"] else 1), done
            assert "data directory" in done.stderr, done.stderr
    assert list(tmp_path.iterdir()) == [empty] and not list(empty.iterdir())


def flip(path, at):
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


def body_place(path):
    return path.read_bytes().index(b"39" + BYTES)


def batch_place(path):
    """In the body of the first batch: whether a checkpoint covers it is by chance, and others follow it."""
    whole = path.read_bytes()
    return next(at for at in range(512, len(whole), 512) if whole[at:at + 4] == b"RBAT") + 48


# The kind of file, which file, where its byte is flipped, and what verify says beside the file's name.
DAMAGE = {
    "body": ("bodies/*.seg", body_place, "checksum"),
    "body header": ("bodies/*.seg", lambda path: 3, "header of a body segment"),
    "batch": ("logs/*/0/*.log", lambda path: path.stat().st_size - 3, "checksum"),
    "batch length": ("logs/*/0/*.log", lambda path: 8, "record batch"),
    "journal batch": ("journal/*.seg", batch_place, "batch"),
    "journal header": ("journal/*.seg", lambda path: 20, "checksum"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_one_wrong_byte_is_found_and_named(filled, kind):
    pattern, place, word = DAMAGE[kind]
    path = sorted(filled.data.glob(pattern))[-1]
    flip(path, place(path))
    before = tree(filled.data)
    said = verify(filled.data, 1)
    named = [line for line in said.splitlines() if line.startswith("fault: ") and path.name in line]
    assert named and any(word in line and "byte " in line for line in named), said
    assert "damaged: " in said
    assert tree(filled.data) == before


def test_a_wrong_byte_in_the_database_is_found(filled):
    path = filled.data / "meta.redb"
    data = path.read_bytes()
    places = [at for at in range(len(data)) if data.startswith(b"amq.fanout", at)]
    assert places
    # Pages that earlier checkpoints left may hold the name as well.
    for at in places:
        flip(path, at)
    said = verify(filled.data, 1)
    assert "meta.redb" in said, said


def test_a_missing_file_is_found(filled):
    for pattern in ("bodies/*.seg", "logs/*/0/*.log"):
        path = sorted(filled.data.glob(pattern))[-1]
        moved = filled.folder / "moved"
        path.rename(moved)
        said = verify(filled.data, 1)
        assert path.name in said, said
        moved.rename(path)
    verify(filled.data)


def test_a_damaged_index_is_worth_a_note(filled):
    path = sorted(filled.data.glob("logs/*/0/*.index"))[0]
    flip(path, 12)
    said = verify(filled.data)
    assert f"note: {path}" in said, said


def test_an_export_says_what_was_put_in(filled):
    before = tree(filled.data)
    lines = export(filled.data)
    assert tree(filled.data) == before
    [kept] = of(lines, "session")
    assert (kept["client_id"], kept["expiry_s"]) == ("s", None)
    assert [(entry["filter"], entry["qos"]) for entry in kept["subscriptions"]] == [("t/#", 2)]
    messages = of(lines, "message", vhost="/")
    to_session = [line for line in messages if line.get("session") == "s"]
    assert [line["payload"]["text"] for line in to_session] == [str(number) for number in range(80)]
    assert [line["qos"] for line in to_session] == [1 + number % 2 for number in range(80)]
    assert to_session[4]["topic"] == "t/1"
    assert to_session[4]["properties"] == {"content_type": "n", "user": [["a", "b"], ["a", "c"]]}
    to_queue = [line for line in messages if line.get("queue") == "q"]
    assert [base64.b64decode(line["payload"]["base64"]) for line in to_queue] == [
        b"%d" % number + BYTES for number in range(80)]
    assert "text" not in to_queue[0]["payload"]
    assert (to_queue[3]["exchange"], to_queue[3]["routing_key"]) == ("x", "a.b")
    assert to_queue[3]["properties"] == {"delivery_mode": 2, "headers": {"n": 3}}
    assert len(messages) == 160
    [queue] = of(lines, "queue")
    assert (queue["name"], queue["arguments"]) == ("q", {"x-max-length": 100_000})
    assert [line["name"] for line in of(lines, "exchange")] == ["x"]
    assert {(line["source"], line["destination"], line["key"]) for line in of(lines, "binding")} == {
        ("x", "q", "a.*"), ("amq.fanout", "q", "")}
    assert {line["topic"]: line["payload"]["text"] for line in of(lines, "retained")} == {
        f"r/{number}": str(40 + number) for number in range(5)}
    [log] = of(lines, "log")
    assert (log["name"], log["partitions"]) == ("own", [{"partition": 0, "start": 0, "end": 80}])
    records = of(lines, "record", log="own")
    assert [(line["offset"], line["key"]["text"], line["value"]["text"]) for line in records] == [
        (number, f"k{number}", f"v{number}") for number in range(80)]
    assert records[0]["headers"] == [["h", {"base64": "eA==", "text": "x"}]]
    [offset] = of(lines, "offset")
    assert (offset["group"], offset["log"], offset["offset"], offset["metadata"]) == ("g", "own", 47, "here")


def test_an_export_may_be_of_some_kinds(filled):
    assert {line["type"] for line in export(filled.data, "retained", "groups")} == {"retained", "offset"}
    done = store("export", "--data-dir", filled.data, "--what", "nothing")
    assert done.returncode == 2 and "retained" in done.stderr, done


def test_a_stopped_broker_is_backed_up_as_it_is(filled, make_broker, tmp_path):
    before = tree(filled.data)
    restored = make_broker()
    restored.folder.mkdir(exist_ok=True)
    done = store("backup", "--data-dir", filled.data, "--to", restored.data)
    assert done.returncode == 0, done.stderr
    assert tree(filled.data) == before
    verify(restored.data)
    label = json.loads((restored.data / "backup.json").read_text())
    assert label["online"] is False and label["last_lsn"] > label["checkpoint_lsn"]
    assert export(restored.data) == export(filled.data)
    restored.start()
    check(restored, 80)
    assert committed(restored, "g", "own") == {0: 47}


def test_a_backup_of_a_running_broker_holds_what_was_acknowledged(make_broker):
    broker = make_broker(config=CHECKPOINTS).start()
    fill(broker)
    restored = make_broker()
    stop, sent, failed = threading.Event(), [], []

    def publish():
        try:
            with Client(broker.mqtt, "live") as pub:
                pub.connect()
                while not stop.is_set():
                    pub.publish("t/live", f"{40 + len(sent)}", qos=2)
                    sent.append(None)
        except Exception as error:  # the main thread tells
            failed.append(error)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        wait_until(lambda: len(sent) > 50 or failed, "messages are published")
        before = len(sent)
        done = store("backup", "--data-dir", broker.data, "--to", restored.data)
        after = len(sent)
    finally:
        stop.set()
        thread.join()
    assert not failed, failed
    assert done.returncode == 0, done.stderr
    assert after > before, "publishers stood still"
    broker.kill9()
    verify(restored.data)
    assert json.loads((restored.data / "backup.json").read_text())["online"] is True
    restored.start()
    back = session(restored.mqtt, "s")
    got = []
    with contextlib.suppress(Timeout):
        while True:
            got.append(int(back.message(timeout=5).payload))
    assert got == list(range(len(got))), "lost, twice or out of order"
    assert 40 + before <= len(got) <= 40 + len(sent)
    assert len(of(export_of(restored), "record")) == 40


def export_of(broker):
    broker.stop()
    return export(broker.data, "logs")


def test_files_stay_while_a_backup_is_taken_and_go_after(make_broker):
    broker = make_broker(config=CHECKPOINTS + "[journal]\nsegment_bytes = \"1MiB\"\n").start()
    fill(broker)
    control, reader, _ = begin_backup(broker)
    held = {path.name for path in (broker.data / "journal").glob("*.seg")}
    bodies = {path.name for path in (broker.data / "bodies").glob("*.seg")}
    taken = broker.metric("rialto_checkpoints_total")
    with Client(broker.mqtt, "p") as pub:
        pub.connect()
        for number in range(30):
            pub.publish("away", b"x" * 100_000, qos=1, retain=True)
    check(broker)
    wait_until(lambda: broker.metric("rialto_checkpoints_total") > taken + 1, "checkpoints are taken meanwhile")
    assert held <= {path.name for path in (broker.data / "journal").glob("*.seg")}
    assert bodies <= {path.name for path in (broker.data / "bodies").glob("*.seg")}
    control.close()
    reader.close()

    def trimmed():
        # A checkpoint wants something to write.
        with Client(broker.mqtt, "p") as pub:
            pub.connect()
            pub.publish("away", b"y", qos=1, retain=True)
        return not held <= {path.name for path in (broker.data / "journal").glob("*.seg")}

    wait_until(trimmed, "the journal is trimmed again", pause=0.2)
    broker.stop()
    verify(broker.data)


def test_the_socket_is_its_owners_alone(broker):
    path = broker.data / "control.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with socket.socket(socket.AF_UNIX) as control:
        control.connect(str(path))
        control.sendall(b"GET / HTTP/1.1\n")
        answer = control.makefile().readline()
    assert "refused" in answer and "rialto-control 1 backup" in answer, answer
    broker.kill9()
    assert path.exists()
    broker.start()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    broker.stop()
    assert not path.exists()


def test_a_long_path_is_said_to_be_too_long(make_broker, tmp_path):
    broker = make_broker()
    broker.data = broker.folder / ("d" * 100)
    broker.start()
    broker.wait_log("no control socket.*107 at most")
    done = store("backup", "--data-dir", broker.data, "--to", tmp_path / "copy")
    assert done.returncode == 1 and "107 at most" in done.stderr, done.stderr
    assert not list(tmp_path.glob("copy*"))


def test_nothing_of_others_is_overwritten(broker, tmp_path):
    to = tmp_path / "mine"
    to.mkdir()
    (to / "letter").write_text("dear")
    done = store("backup", "--data-dir", broker.data, "--to", to)
    assert done.returncode == 1 and "not empty" in done.stderr, done.stderr
    assert (to / "letter").read_text() == "dear" and len(list(tmp_path.glob("mine*"))) == 1
    (to / "letter").unlink()
    unfinished = tmp_path / "mine.unfinished"
    unfinished.mkdir()
    (unfinished / "letter").write_text("dear")
    done = store("backup", "--data-dir", broker.data, "--to", to)
    assert done.returncode == 1 and "unfinished" in done.stderr, done.stderr
    assert (unfinished / "letter").read_text() == "dear"


def test_a_damaged_original_makes_no_backup(filled, tmp_path):
    path = sorted(filled.data.glob("bodies/*.seg"))[-1]
    flip(path, body_place(path))
    done = store("backup", "--data-dir", filled.data, "--to", tmp_path / "copy")
    assert done.returncode == 1 and "no backup" in done.stderr, done
    assert not list(tmp_path.glob("copy*"))


def test_a_broker_that_dies_meanwhile_does_not_say_that_its_files_stayed(make_broker):
    broker = make_broker().start()
    fill(broker)
    control, reader, last = begin_backup(broker)
    broker.kill9()
    with pytest.raises(OSError):
        control.sendall(b"end\n")
        if not reader.read().endswith(b"ended\n"):
            raise ConnectionResetError
    control.close()
    assert last > 0
    broker.start()
    check(broker)


def test_an_empty_broker_can_be_backed_up(broker, make_broker):
    restored = make_broker()
    done = store("backup", "--data-dir", broker.data, "--to", restored.data)
    assert done.returncode == 0, done.stderr
    verify(restored.data)
    restored.start()
    fill(restored)
    check(restored)


def test_sigterm_ends_a_broker_with_a_backup_under_way(broker):
    fill(broker)
    control, reader, _ = begin_backup(broker)
    broker.process.send_signal(signal.SIGTERM)
    code, said = broker.wait_exit()
    assert code == 0, said
    control.close()
    reader.close()
    verify(broker.data)
