"""Retained topics: written with QoS 0, 1 and 2 in turn, cleared now and then; after a restart each is looked up.

A topic is a register: it holds the last acknowledged value or one that was sent later, and once it was found, that one.
"""

from crash.mqtt import Publisher
from crash.party import WAIT, text_of
from rawmqtt import PINGRESP, PUBLISH, Client, packet, publish_bytes

TOPICS = 20


class Keeper(Publisher):
    """Writes its topics in turn; each seventh value clears its topic. A value is its number, or None."""

    def __init__(self, history, name, version, window):
        super().__init__(history, name, 2, version, window)

    def topic(self, number):
        return f"keep/{self.name}/{number % TOPICS}"

    def value(self, number):
        return None if number % 7 == 3 else number

    def qos_of(self, number):
        return (2, 1, 0, 1, 2)[number // TOPICS % 5]

    def frame(self, number, mid, dup=False):
        text = "" if self.value(number) is None else text_of(self.name, number)
        return publish_bytes(self.topic(number), text, self.qos_of(number), mid, True, dup, self.version)

    def fill(self):
        """One round of topics at most is under way, so that each topic is written in order."""
        data = b""
        oldest = min((number for number, _ in self.flight.values()), default=self.sent)
        while len(self.flight) < self.window and self.sent < oldest + self.window:
            mid = self.next_mid()
            if self.qos_of(self.sent):
                self.flight[mid] = (self.sent, False)
                oldest = min(oldest, self.sent)
            self.note_sent(self.sent)
            data += self.frame(self.sent, mid)
            self.sent += 1
            if not self.flight and len(data) > 4000:
                break
        if data:
            self.client.send(data)

    def note_sent(self, number):
        self.history.note(self.topic(number), "asked", "retained", number, self.value(number))

    note_again = note_sent

    def note_acked(self, number):
        self.history.note(self.topic(number), "answered", "retained", number)


def check(history, port, keepers):
    """Every topic as a new subscriber finds it."""
    client = Client(port, "retained-check", timeout=WAIT)
    client.connect()
    client.subscribe(("keep/#", 0))
    client.send(packet(12, 0, b""))
    found = {}
    while (got := client.receive()).kind != PINGRESP:
        history.check(got.kind == PUBLISH and got.retain, "retained", f"unexpected {got}")
        history.check(got.topic not in found, got.topic, "replayed twice")
        found[got.topic] = got.payload.decode()
    client.disconnect()
    for keeper in keepers:
        for place in range(TOPICS):
            look_up(history, keeper, f"keep/{keeper.name}/{place}", found)
    for topic in found:
        history.note(topic, "wrong", "unknown", "nobody wrote this topic")


def look_up(history, keeper, topic, found):
    text = found.pop(topic, None)
    if text is None:
        history.note(topic, "found", "retained", None)
        return
    number = int(text.split(":")[1])
    if text != text_of(keeper.name, number):
        history.note(topic, "wrong", "damaged", f"{text[:60]!r}")
    history.note(topic, "found", "retained", number)
