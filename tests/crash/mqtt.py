"""MQTT publishers with windows and subscribers of durable sessions, whose handshakes break at each of their steps."""

import time

from crash.accounting import Fault, Finding
from crash.party import WAIT, Party, read_text, text_of
from rawmqtt import (DISCONNECT, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, Client, Closed, Timeout,
                     ack_bytes, publish_bytes)

ENDLESS = {"session_expiry": 0xFFFFFFFF}
NOT_FOUND, SHUTTING_DOWN = 0x92, 0x8B
# How often a client takes its own session over, by packets received; how often what it holds back is let go.
RESTLESS, RELEASE = 1 / 300, 0.4


def session(port, name, version, **options):
    properties = {**ENDLESS, **options.pop("properties", {})} if version == 5 else None
    return Client(port, name, version=version, clean=False, properties=properties, timeout=WAIT, **options)


class MqttParty(Party):
    """One client of a durable session; its own answers of a handshake may wait, in order, for a moment of their own."""

    timeouts, ends = (Timeout,), (Closed,)

    def __init__(self, history, name, version):
        self.history, self.name, self.version = history, name, version
        self.accepted, self.client, self.rng = False, None, None
        self.held = []

    def open(self, port):
        """Resumes the session; whether the broker still has it."""
        self.held.clear()
        self.client = session(port, self.name, self.version)
        present = self.client.connect().session_present
        self.history.check(present or not self.accepted, self.name, "the session of an accepted client is gone")
        self.accepted = True
        self.history.remark(self.name, "connected", "to its session" if present else "to a new session")
        return present

    def answer(self, kind, mid):
        """Answers now or, so that connections end in between, a little later; always in order [MQTT-4.6.0]."""
        self.held.append((kind, mid))
        if self.rng is None or self.rng.random() < RELEASE:
            self.release()

    def release(self):
        if self.held:
            held, self.held = self.held, []
            self.client.send(b"".join(ack_bytes(kind, mid) for kind, mid in held))
            self.released(held)

    def released(self, held):
        """These answers were sent."""

    def take(self, timeout):
        packet = self.client.receive(timeout)
        if packet.kind == DISCONNECT and packet.reason == SHUTTING_DOWN:
            raise Closed("the broker says goodbye")
        return packet

    def hang_up(self):
        client, self.client = self.client, None
        if client is not None:
            self.broken()
        return client

    def broken(self):
        """The connection ends here: counts the handshakes that are open."""


class Publisher(MqttParty):
    """A window of unacknowledged messages; knows after each cut what was acknowledged."""

    def __init__(self, history, name, qos, version, window):
        super().__init__(history, name, version)
        self.qos, self.window, self.sent, self.mid = qos, window, 0, 0
        # By packet identifier: the number, and how far its handshake is.
        self.flight, self.resumed = {}, set()

    def topic(self, number):
        return f"crash/{self.name}/data"

    def frame(self, number, mid, dup=False):
        return publish_bytes(self.topic(number), text_of(self.name, number), self.qos, mid, False, dup, self.version)

    def note_sent(self, number):
        self.history.note(self.name, "sent", number)

    def note_again(self, number):
        self.history.note(self.name, "again", number)

    def note_acked(self, number):
        self.history.note(self.name, "acked", number)

    def connect(self, port):
        """Resumes the session; sends again what was not acknowledged, in its order, with its ids [MQTT-4.4.0-1]."""
        if not self.open(port):
            self.flight = {mid: (number, False) for mid, (number, _) in self.flight.items()}
        self.resumed = {mid for mid, (_, released) in self.flight.items() if released}
        for mid, (number, released) in self.flight.items():
            if not released:
                self.note_again(number)
            self.client.send(ack_bytes(PUBREL, mid) if released else self.frame(number, mid, dup=True))

    def next_mid(self):
        self.mid = self.mid % 60000 + 1
        while self.mid in self.flight:
            self.mid = self.mid % 60000 + 1
        return self.mid

    def fill(self):
        data = b""
        while len(self.flight) < self.window:
            mid = self.next_mid()
            self.flight[mid] = (self.sent, False)
            self.note_sent(self.sent)
            data += self.frame(self.sent, mid)
            self.sent += 1
        if data:
            self.client.send(data)

    def handle(self, packet):
        """Whether a message became acknowledged by this packet."""
        # A PUBREL sent again may find its identifier released already: no error during recovery [MQTT5-3.7.2.1].
        recovered = packet.kind == PUBCOMP and packet.reason == NOT_FOUND and packet.mid in self.resumed
        self.history.check(packet.kind in (PUBACK, PUBREC, PUBCOMP) and (packet.reason < 0x80 or recovered),
                           self.name, f"unexpected {packet}")
        self.history.check(packet.mid in self.flight or packet.kind == PUBCOMP, self.name, f"unknown id in {packet}")
        if packet.kind == PUBREC:
            number, released = self.flight[packet.mid]
            self.flight[packet.mid] = (number, True)
            if not released:
                # From here on the message is the broker's; PUBCOMP gives the identifier free.
                self.note_acked(number)
            self.answer(PUBREL, packet.mid)
        elif packet.mid in self.flight:
            number, _ = self.flight.pop(packet.mid)
            self.resumed.discard(packet.mid)
            if packet.kind == PUBACK:
                self.note_acked(number)
            return True
        return False

    def broken(self):
        held = {mid for _, mid in self.held}
        for mid, (_, released) in self.flight.items():
            if self.qos == 2:
                step = "PUBREC came" if mid in held else "PUBREL sent" if released else "PUBLISH sent"
                self.history.meet(f"publisher, {step}")

    def step(self, rng, on_ack):
        self.fill()
        try:
            if self.handle(self.take(0.1)):
                on_ack()
        except Timeout:
            self.release()
        if rng.random() < RESTLESS:
            self.fill()
            return "leave"
        return None

    def finish(self, port):
        """Connects and completes what is in flight, sending nothing new."""
        self.rng = None
        self.connect(port)
        deadline = time.monotonic() + WAIT
        while self.flight:
            if time.monotonic() > deadline:
                raise Fault([Finding("lost", self.name, f"{len(self.flight)} messages are never acknowledged")])
            self.handle(self.take(WAIT))
        self.client.disconnect()
        self.client = None


class Receiver(MqttParty):
    """A durable session's client: acknowledges everything and keeps QoS 2's exactly-once state over restarts.

    Now and then it changes a subscription that nothing is sent to: the SUBACK says that what it acknowledged before is
    on disk.
    """

    def __init__(self, history, name, version, topics="crash/#", read=read_text, restless=RESTLESS):
        super().__init__(history, name, version)
        self.topics, self.read, self.restless = topics, read, restless
        self.marks = set()
        # Exactly-once state by identifier: the message, and the last step of its handshake.
        self.open_ids, self.owners, self.excused = {}, {}, set()
        self.barriers, self.asked = 0, None

    def connect(self, port):
        # What was sent in the instant of a kill may come without DUP; its identifier says what it is.
        self.excused = set(self.open_ids) if self.history.books.places[self.name].died else set()
        present = self.open(port)
        self.asked = None
        if not present:
            self.open_ids.clear()
        self.history.note(self.name, "opened")

    def subscribe(self):
        self.client.subscribe((self.topics, 2))

    def handle(self, packet):
        if packet.kind == PUBLISH:
            self.publish(packet)
        elif packet.kind == PUBREL:
            self.open_ids[packet.mid] = "PUBREL came"
            self.answer(PUBCOMP, packet.mid)
        elif packet.kind == SUBACK:
            self.history.check(packet.mid == self.asked, self.name, f"unexpected {packet}")
            self.asked = None
            self.history.note(self.name, "barrier")
        else:
            self.history.check(packet.kind == PINGRESP, self.name, f"unexpected {packet}")

    def publish(self, packet):
        if packet.qos == 2 and self.open_ids.get(packet.mid) in ("PUBLISH came", "PUBREC sent"):
            who, number = self.read(self.history, self.name, packet.payload.decode())
            self.history.check(who == "mark" or self.owners[packet.mid] == (who, number), self.name,
                               f"{who}:{number} under identifier {packet.mid}, which is that of "
                               f"{self.owners.get(packet.mid)}")
            self.history.check(packet.dup or packet.mid in self.excused, self.name,
                               f"{who}:{number}, identifier {packet.mid}, again without DUP")
            self.history.meet("QoS 2 PUBLISH again, known" + (" by its identifier only" if not packet.dup else ""))
        else:
            who, number = self.read(self.history, self.name, packet.payload.decode())
            if who == "mark":
                self.marks.add(number)
            else:
                self.got(who, number, packet)
        if packet.qos == 2:
            self.open_ids[packet.mid] = "PUBLISH came"
            self.answer(PUBREC, packet.mid)
        elif packet.qos == 1:
            self.answer(PUBACK, packet.mid)

    def got(self, who, number, packet):
        self.history.note(self.name, "got", who, number, packet.dup, packet.qos == 2)
        self.owners[packet.mid] = (who, number)

    def release(self):
        # What is acknowledged behind a question is not covered by its answer.
        if self.asked is None:
            super().release()

    def released(self, held):
        for kind, mid in held:
            if kind == PUBREC:
                self.open_ids[mid] = "PUBREC sent"
            elif kind == PUBCOMP:
                self.open_ids[mid] = "PUBCOMP sent"
            if kind != PUBREC and mid in self.owners:
                self.history.note(self.name, "settled", *self.owners.pop(mid))

    def ask(self):
        self.release()
        self.barriers += 1
        self.asked = self.client.subscribe((f"nothing/{self.name}", self.barriers % 2), wait=False)

    def broken(self):
        for step in self.open_handshakes().values():
            self.history.meet(f"subscriber, {step}")
        last = [mid for mid, step in self.open_ids.items() if step == "PUBCOMP sent"]
        self.history.meet("subscriber, PUBCOMP sent", min(len(last), 1))
        for mid in last:
            # PUBREL may come again, if PUBCOMP was not on disk; the identifier may be used anew, if it was.
            del self.open_ids[mid]

    def step(self, rng, on_ack):
        try:
            self.handle(self.take(0.1))
        except Timeout:
            self.release()
        if self.asked is None and rng.random() < 1 / 100:
            self.ask()
        return "leave" if rng.random() < self.restless else None

    def open_handshakes(self):
        return {mid: step for mid, step in self.open_ids.items() if step != "PUBCOMP sent"}

    def drain(self, port, enough):
        """Receives until `enough()` and every handshake is complete; then everything acknowledged is on disk."""
        self.rng = None
        self.connect(port)
        deadline = time.monotonic() + 4 * WAIT
        try:
            while not enough() or self.open_handshakes():
                self.handle(self.take(WAIT if time.monotonic() < deadline else 0))
            self.ask()
            while self.asked is not None or self.held:
                if self.asked is None:
                    # What came behind the question is acknowledged, and asked about again.
                    self.ask()
                self.handle(self.take(WAIT))
        except Timeout:
            self.history.note(self.name, "wrong", "lost", "not everything that was sent before has come to its session"
                              if not enough() else f"handshakes that never end: {self.open_handshakes()}")
        self.client.disconnect()
        self.client = None
