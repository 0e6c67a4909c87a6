"""A data directory of a newer build is refused with the file's name and both versions, and stays as it is."""

import struct

import pytest

from filled import filled_and_killed, tree
from harness import DEADLINE
from rawkafka import crc32c

pytestmark = pytest.mark.rialto


@pytest.fixture
def filled(make_broker):
    return filled_and_killed(make_broker)


def last(broker, pattern):
    return sorted(broker.data.glob(pattern))[-1]


def rewrite(path, version_at, crc_at, begin=0):
    """Raises the version of a header by one and makes its checksum right."""
    data = bytearray(path.read_bytes())
    found = struct.unpack_from("<H", data, begin + version_at)[0]
    struct.pack_into("<H", data, begin + version_at, found + 1)
    struct.pack_into("<I", data, begin + crc_at, crc32c(bytes(data[begin:begin + crc_at])))
    path.write_bytes(data)
    return path


def journal_segment(broker):
    return rewrite(last(broker, "journal/*.seg"), 8, 56)


def journal_batch(broker):
    path = last(broker, "journal/*.seg")
    return rewrite(path, 4, 44, begin=path.read_bytes().index(b"RBAT"))


def body_segment(broker):
    return rewrite(last(broker, "bodies/*.seg"), 8, 12)


def partition_segment(broker):
    path = last(broker, "logs/*/0/*.v1.log")
    return path.rename(path.with_name(path.name.replace(".v1.", ".v2.")))


FORMATS = [journal_segment, journal_batch, body_segment, partition_segment]


@pytest.mark.parametrize("change", FORMATS, ids=lambda change: change.__name__)
def test_a_newer_file_stops_the_start(filled, change):
    path = change(filled)
    before = tree(filled.data)
    filled.launch()
    code, said = filled.wait_exit(DEADLINE)
    assert code == 1, said
    line = next(line for line in said.splitlines() if "format version" in line)
    assert str(path) in line and "format version 2" in line and "up to 1" in line, line
    after = tree(filled.data)
    # Only what every start does before it looks: the lock, and the database opened and closed again.
    assert {name for name in before if before[name] != after.get(name)} <= {"meta.redb"}
    assert set(after) - set(before) <= {"rialto.lock"}


@pytest.mark.parametrize("change", FORMATS, ids=lambda change: change.__name__)
def test_verify_cannot_judge_a_newer_file(filled, change):
    from filled import store
    path = change(filled)
    before = tree(filled.data)
    done = store("verify", "--data-dir", filled.data)
    assert path.name in done.stdout and "version" in done.stdout, done
    assert done.returncode == 2, done
    assert tree(filled.data) == before


def test_a_newer_index_is_made_anew(filled):
    path = last(filled, "logs/*/0/*.v1.index")
    data = bytearray(path.read_bytes())
    data[8] += 1
    data[-4:] = struct.pack("<I", crc32c(bytes(data[:-4])))
    path.write_bytes(data)
    filled.start()
    filled.stop()
    assert path.read_bytes()[8] == 1
