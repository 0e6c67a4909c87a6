"""Both ends of QoS 1 and 2 as the specification describes them, over raw connections that may end at any packet.

A `Sender` and a `Receiver` keep what a session keeps at the client's end: packet ids under way, and those received
but not released. They live on over any number of connections, and never mend what a broker does wrong.
"""

from rawmqtt import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, Client, Closed, ack_bytes, publish_bytes

FOREVER = {"session_expiry": 0xFFFFFFFF}


class End:
    """One end of a session that lasts, and its present connection."""

    def __init__(self, name, version):
        self.name, self.version, self.client = name, version, None
        self.properties = {}

    def connect(self, broker, clean=False):
        properties = {**FOREVER, **self.properties} if self.version == 5 else None
        self.client = Client(broker.mqtt, self.name, version=self.version, clean=clean, properties=properties)
        self.client.connect()
        return self.client

    def cut(self):
        if self.client:
            self.client.cut()
            self.client = None


class Sender(End):
    """Publishes with QoS 2, or 1; after a reconnect sends again what has no answer, in its order."""

    def __init__(self, name, version=5):
        super().__init__(name, version)
        # Packet id -> (topic, payload, qos, whether PUBREC came), in the order of the publishes (MQTT-4.6.0-1).
        self.open, self.mid = {}, 0
        self.completed = []

    def publish(self, topic, payload, qos=2):
        self.mid = self.mid % 65535 + 1
        assert self.mid not in self.open
        self.open[self.mid] = (topic, payload, qos, False)
        self.client.send(publish_bytes(topic, payload, qos, self.mid, version=self.version))
        return self.mid

    def connect(self, broker, clean=False):
        super().connect(broker, clean)
        if self.open:
            assert self.client.connack.session_present
        again = b""
        for mid, (topic, payload, qos, received) in self.open.items():
            again += ack_bytes(PUBREL, mid) if received else publish_bytes(topic, payload, qos, mid, dup=True,
                                                                          version=self.version)
        self.client.send(again)
        return self.client

    def step(self, timeout=None):
        """Takes one packet and answers it; returns it."""
        got = self.client.receive(timeout)
        assert got.kind in (PUBACK, PUBREC, PUBCOMP), got
        assert got.mid in self.open, f"an answer to nothing: {got}"
        topic, payload, qos, received = self.open[got.mid]
        if got.kind == PUBREC:
            assert qos == 2 and got.reason < 0x80, got
            self.open[got.mid] = (topic, payload, qos, True)
            self.client.ack(PUBREL, got.mid)
        else:
            assert qos == (1 if got.kind == PUBACK else 2), got
            # 5.0 may say "packet identifier not found" of one whose PUBCOMP was lost on the way.
            assert got.reason in (0, 0x10) or got.kind == PUBCOMP and got.reason == 0x92, got
            assert got.kind == PUBACK or received, got
            del self.open[got.mid]
            self.completed.append(payload)
        return got

    def finish(self):
        while self.open:
            self.step()


class Receiver(End):
    """Takes messages; one of QoS 2 counts when its id is not known already (method A of MQTT-4.3.3)."""

    def __init__(self, name, version=5):
        super().__init__(name, version)
        # Ids of QoS 2 received and not released; the payloads that the application got; those that came again.
        self.known, self.got, self.repeated = set(), [], []
        # Whether every repetition must bear DUP: not where more acknowledgements than a window were on their way when
        # the broker was killed (docs/guarantees.md).
        self.dup_always = True

    def take(self, got):
        """What the application sees of a PUBLISH, before any answer."""
        if got.qos == 2 and got.mid in self.known:
            # MQTT-3.3.1-1: whatever is sent again bears DUP.
            assert got.dup or not self.dup_always, f"sent again without DUP: {got}"
            self.repeated.append(got.payload.decode())
            return
        if got.qos == 2:
            self.known.add(got.mid)
        self.got.append(got.payload.decode())

    def step(self, timeout=None):
        """Takes one packet and answers it; returns it."""
        got = self.client.receive(timeout)
        if got.kind == PUBLISH:
            self.take(got)
            if got.qos:
                self.client.ack(PUBACK if got.qos == 1 else PUBREC, got.mid)
        else:
            assert got.kind == PUBREL, got
            self.known.discard(got.mid)
            self.client.ack(PUBCOMP, got.mid)
        return got

    def until(self, count, timeout=None):
        """Takes packets until the application has `count` messages and every id is released."""
        while len(self.got) < count or self.known:
            self.step(timeout)
        return self.got

    def drain(self):
        """Takes what is there until the connection ends."""
        try:
            while True:
                self.step()
        except Closed:
            pass
