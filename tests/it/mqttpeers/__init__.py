"""Client libraries with one face, so that one test says what all of them must see.

`open_peer(label, broker, client_id, …)` gives a connected `Peer`: mosquitto's programs, paho-mqtt and aiomqtt in this
process, rumqttc and MQTT.js as programs of their own that are told what to do line by line. A test names the feature
it is about; `CAN` says which clients offer it to their users, and no test asks for what a client does not have.
"""

import threading
import time
from dataclasses import dataclass, field

import pytest

from harness import DEADLINE

FOREVER = 0xFFFFFFFF
# What needs Node, which only the long runs install.
LONG = {"mqttjs"}
NAMES = ["mosquitto", "paho", "aiomqtt", "rumqttc", "mqttjs"]

# What a client lets its user see or choose; what is not named here, all of them do.
#   present     session present of CONNACK            assigned  the client id that the broker assigned
#   codes       the reason code of a PUBACK           closing   the code of the broker's DISCONNECT
#   dup         DUP of what comes                     ordered   user properties in order across their names
#   identifier  an identifier for a subscription      options   no-local, retain-as-published, retain handling
#   delay       a will's delay                        alias     topic aliases of its own
#   unsubscribe                                       resolves  topic aliases of the broker: with the others, a user
#                                                               must not announce that they are taken
CAN = {
    "mosquitto": {"identifier", "ordered"},
    "paho": {"present", "assigned", "codes", "closing", "dup", "ordered", "identifier", "options", "delay", "alias",
             "unsubscribe"},
    "aiomqtt": {"ordered", "identifier", "options", "delay", "alias", "unsubscribe"},
    "rumqttc": {"present", "assigned", "codes", "closing", "dup", "ordered", "identifier", "options", "delay", "alias",
                "unsubscribe"},
    "mqttjs": {"present", "assigned", "codes", "closing", "dup", "identifier", "options", "delay", "alias",
               "resolves", "unsubscribe"},
}


@dataclass
class Got:
    """A message as a client's user sees it."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    dup: bool = False
    properties: dict = field(default_factory=dict)


@dataclass
class Options:
    """What a client connects with. `will` is a dict as of rawmqtt, with `delay` beside its properties."""

    port: int
    client_id: str
    version: int = 4
    clean: bool = True
    expiry: int | None = None
    keepalive: int = 30
    will: dict | None = None
    receive_maximum: int | None = None
    alias_maximum: int | None = None
    ca: str | None = None
    username: str | None = None
    password: str | None = None


class Peer:
    """One client. Its own threads or programs report into it; `until` waits for what they report."""

    def __init__(self, options):
        self.options, self.got, self.faults = options, [], []
        # One entry for each connection made: (code, session present), the code of each close or None.
        self.connects, self.closes = [], []
        self.assigned = None
        self.news = threading.Condition()

    def report(self, change):
        with self.news:
            change()
            self.news.notify_all()

    def until(self, condition, what, timeout=DEADLINE):
        """Waits until a condition on what was reported is true; returns its value."""
        deadline = time.monotonic() + timeout
        with self.news:
            while True:
                value = condition()
                if value:
                    return value
                left = deadline - time.monotonic()
                assert left > 0, (f"{type(self).__name__} {self.options.client_id}: not within {timeout} s: {what}; "
                                  f"{len(self.got)} messages, {self.connects}, {self.closes}, {self.faults}")
                self.news.wait(min(left, 0.5))

    def messages(self, count, timeout=DEADLINE):
        """The first `count` messages."""
        self.until(lambda: len(self.got) >= count, f"{count} messages", timeout)
        return self.got[:count]

    def payloads(self, count, timeout=DEADLINE):
        return [message.payload.decode() for message in self.messages(count, timeout)]

    def connected(self, times=1, timeout=DEADLINE):
        """The code of the `times`-th CONNACK."""
        self.until(lambda: len(self.connects) >= times, f"connection {times}", timeout)
        return self.connects[times - 1][0]

    @property
    def present(self):
        return self.connects[-1][1]

    def publish(self, topic, payload=b"", qos=0, retain=False, properties=None, timeout=DEADLINE):
        """Publishes and waits for the end of the handshake; the reason code if the client tells it."""
        return self.settle(self.send(topic, payload, qos, retain, properties), timeout)


def raw_bytes(payload):
    return payload.encode() if isinstance(payload, str) else bytes(payload)


def clients(*needed, version=None):
    """A parametrization by every client and protocol version that has all that is `needed`."""
    rows = [(name, number) for name in NAMES for number in ([version] if version else (4, 5))
            if set(needed) <= CAN[name]]
    return pytest.mark.parametrize("client", rows, ids=[f"{name}-v{'3.1.1' if number == 4 else number}"
                                                        for name, number in rows])


def peer_class(name):
    if name == "mosquitto":
        from mqttpeers.mosquitto_tools import Mosquitto
        return Mosquitto
    if name == "paho":
        from mqttpeers.paho_client import Paho
        return Paho
    if name == "aiomqtt":
        from mqttpeers.aiomqtt_client import Aiomqtt
        return Aiomqtt
    from mqttpeers.program import MqttJs, Rumqttc
    return {"rumqttc": Rumqttc, "mqttjs": MqttJs}[name]


def open_peer(name, broker, client_id, version=4, tls=False, expect=0, **options):
    """A connected client; `expect=None` leaves its CONNACK to the caller."""
    port = broker.ports["mqtts" if tls else "mqtt"]
    peer = peer_class(name)(Options(port, client_id, version, ca=str(broker.certs / "ca.crt") if tls else None,
                                    **options))
    if expect is not None:
        try:
            code = peer.connected()
            assert code == expect, f"{name}: CONNACK {code:#x}"
        except AssertionError:
            peer.cut()
            raise
    return peer
