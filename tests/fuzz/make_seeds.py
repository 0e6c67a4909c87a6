"""Makes the seeds that are made of other files: packets of tests/vectors, topics, AMQP frames, configuration.

Seeds of `kafka_requests`, `kafka_batches` and `store_records` were written by the encoders of the unit tests, those
of `mqtt_connection` by the fuzzer; all of them are kept as they are.
"""

from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SEEDS = HERE / "seeds"


def write(target: str, name: str, data: bytes) -> None:
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def mqtt() -> None:
    """Each CONNECT and each wrong packet alone; what is right together."""
    right = {"3": b"", "5": b""}
    for line in (ROOT / "tests/vectors/mqtt.txt").read_text().splitlines():
        columns = line.split(" | ")
        if len(columns) != 5 or "<" not in columns[2]:
            continue
        name, version, _, packet, meaning = columns
        packet = bytes.fromhex(packet)
        prelude = 0 if packet[0] >> 4 == 1 else {"3": 1, "5": 3}[version]
        if prelude == 0 or meaning.startswith("error"):
            write("mqtt_codec", f"{name}-{version}", bytes([prelude, 6]) + packet)
        elif name.startswith(("disconnect", "publish-alias")):
            write("mqtt_codec", f"{name}-{version}", bytes([prelude, 0]) + packet)
        else:
            right[version] += packet
    write("mqtt_codec", "all-3", b"\x01\x0b" + right["3"])
    write("mqtt_codec", "all-5", b"\x03\x0b" + right["5"])


def topics() -> None:
    groups = {
        "plain": ["plant.1/temp", "+/temp", "plant.1/#", "#", "a//b", "/a", "a/"],
        "hidden": ["$SYS/x", "$SYS/#", "+/x", "#", "$share/g/$SYS/#", "$"],
        "shared": ["$share/g/a/+", "$share/g/", "$share//t", "$share/+/t", "$share", "$share/g/#"],
        "escaped": ["*/%2A/%25", "a.*.%2A", "%", "été/é", "a+/b", "a#", "%2", "*"],
        "keys": ["a.b.c", "*.b.#", "#.b", "$x.y", "", "a..b", "%2A.%25", "+"],
    }
    for name, lines in groups.items():
        write("mqtt_topics", name, "\n".join(lines).encode())


def short(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return bytes([kind]) + channel.to_bytes(2, "big") + len(payload).to_bytes(4, "big") + payload + b"\xce"


def method(channel: int, klass: int, number: int, arguments: bytes = b"") -> bytes:
    return frame(1, channel, klass.to_bytes(2, "big") + number.to_bytes(2, "big") + arguments)


def amqp() -> None:
    value = b"\x01aI\0\0\0\x05" + b"\x01bS\0\0\0\x01x" + b"\x01ct\x01" + b"\x01dV" + b"\x01el" + bytes(8)
    inner = b"\x01fF" + len(value).to_bytes(4, "big") + value
    array = b"\x01gA\0\0\0\x07" + b"b\x05" + b"s\0\x01" + b"u\0" + b"\x01"
    table = value + inner + array + b"\x01hD\x02\0\0\0\x05" + b"\x01iT" + bytes(8) + b"\x01jx\0\0\0\x02ab"
    framed = len(table).to_bytes(4, "big") + table
    publish = method(1, 60, 40, b"\0\0" + short(b"amq.topic") + short(b"a.b") + b"\x01")
    header = frame(2, 1, b"\0\x3c\0\0" + (3).to_bytes(8, "big") + b"\x10\0\x02")
    body = frame(3, 1, b"abc")
    declare = method(1, 50, 10, b"\0\0" + short(b"q") + b"\x02" + framed)
    consume = method(1, 60, 20, b"\0\0" + short(b"q") + short(b"tag") + b"\0" + framed)
    ack = method(1, 60, 80, (1).to_bytes(8, "big") + b"\0")
    close = method(1, 20, 40, b"\0\xc8" + short(b"bye") + bytes(4))
    leave = method(0, 10, 50, b"\0\xc8" + short(b"bye") + bytes(4))
    write("amqp_frames", "session", b"\x01\x08" + declare + consume + publish + header + body + ack + close + leave)
    write("amqp_frames", "wrong-order", b"\x01\x03" + header + body)
    write("amqp_frames", "no-header", b"\x00\x01AMQP\0\0\x09\x01")
    write("amqp_frames", "table", b"\x03" + framed)
    write("amqp_frames", "table-bare", b"\x03" + table)
    write("amqp_frames", "content-header", b"\x04" + b"\0\x3c\0\0" + bytes(8) + b"\xff\xfc" + bytes(20))
    for name, packet in {"declare": declare, "publish": publish, "consume": consume, "ack": ack}.items():
        write("amqp_frames", f"method-{name}", b"\x02" + packet[7:-1])


def configuration() -> None:
    write("config_files", "defaults", b"\x00" + (ROOT / "rialto.toml").read_bytes())
    write("config_files", "rule", b"\x00[[acl]]\nuser = \"a\"\nallow = [\"publish\"]\nfilter = \"t/#\"\n")
    for number, path in enumerate(sorted((ROOT / "bridge-config").glob("*.toml*"))):
        write("config_files", f"routes-{number}", b"\x01" + path.read_bytes())
    route = (
        b'[[route]]\nname = "r"\n[route.from]\nmqtt = "plant/+/t/#"\n'
        b'[route.to]\nlog = "l"\nkey = "{topic[1]}"\npartition = "key"\npartitions = 3\n'
    )
    write("config_files", "route", b"\x01" + route)


if __name__ == "__main__":
    mqtt()
    topics()
    amqp()
    configuration()
