"""Members of a share group with durable sessions: each message for one of them, what one leaves for the others."""

import time
from threading import Thread

from crash.accounting import Fault, Finding
from crash.mqtt import Receiver
from crash.party import WAIT
from rawmqtt import Timeout

# How often a member leaves, by packets received: what it had not acknowledged goes to the other.
RESTLESS = 1 / 100


class Member(Receiver):
    """One of the group; the place of its own name belongs to the group's."""

    def __init__(self, history, name, version):
        super().__init__(history, name, version, "$share/team/crash/+/data", restless=RESTLESS)

    def has_everything(self):
        """Whether all that was acknowledged, or is in a session beside it, has come to the group."""
        books = self.history.books
        group, beside = books.places[books.places[self.name].group], books.places["offline"]
        return not any(sent.without(group.numbers(who)) for who in group.sources
                       for sent in (books.sources[who].acked, beside.numbers(who)))

    def empty(self, port):
        """Takes part until nothing is left for the group; then what this member acknowledged is on disk."""
        self.rng = None
        self.connect(port)
        deadline = time.monotonic() + 4 * WAIT
        while not self.has_everything() or self.open_handshakes() or self.asked is not None or self.held:
            if time.monotonic() > deadline:
                self.history.note(self.name, "wrong", "lost", "not everything that was sent before has come to the group")
                break
            if self.asked is None and self.has_everything():
                self.ask()
            try:
                self.handle(self.take(0.1))
            except Timeout:
                continue
        self.client.disconnect()
        self.client = None


def drain(members, port):
    """All of them at once: what one has begun to get, nobody else can get."""
    errors = []

    def work(member):
        try:
            member.empty(port)
        except Exception as error:  # noqa: BLE001 – carried to the caller
            errors.append(error)

    threads = [Thread(target=work, args=(member,), name=member.name, daemon=True) for member in members]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5 * WAIT)
        if thread.is_alive():
            raise Fault([Finding("trouble", thread.name, "a member hangs")])
    if errors:
        raise errors[0]
