"""Clients that die with a will, at once or delayed, and sessions that end: once, not too early, not much too late.

A will is due its delay, or its session's expiry if that is shorter, after its client went; a client that the broker's
own death cut went then. Who said goodbye, or came back in time, leaves none [MQTT-3.1.2-8, MQTT5-3.1.3.2.2].
"""

import time

from crash.mqtt import Receiver
from crash.party import WAIT
from rawmqtt import Client, Closed, Timeout

DELAYS, EXPIRIES = (0, 1, 2), (0, 1, 3, 3600)
# Of one cycle.
MOST = 10


class Watcher(Receiver):
    """A durable session to which wills come; its client is away whenever the broker dies."""

    def __init__(self, history, name="wills"):
        super().__init__(history, name, 5, "wills/#", read=_read)

    def got(self, who, number, packet):
        again = " again" if packet.dup else ""
        self.history.remark(self.name, f"got{again}", who, f"identifier {packet.mid}")
        self.history.note(who, "will", self.history.now())


def _read(_history, _place, text):
    who, _, number = text.partition(":")
    return who, int(number.partition(":")[0] or 0)


class Mortals:
    """Makes clients with wills, and sessions without, until the broker dies; looks whether sessions lived as long as
    they should."""

    def __init__(self, history, name="mortals"):
        self.history, self.name, self.number = history, name, 0
        # Sessions: name -> (expiry, cut at the earliest, at the latest or None while connected).
        self.sessions, self.connected, self.parting = {}, {}, []

    def run(self, port, stop, rng, on_ack=lambda: None):
        self.port, made = port, 0
        # Goodbyes that no answer stood behind when the broker died.
        self.parting.clear()
        try:
            while not stop.is_set() and made < MOST:
                made += 1
                (self.make_will if rng.random() < 0.7 else self.make_session)(rng)
                if self.sessions and rng.random() < 0.5:
                    self.look_up(rng.choice(sorted(self.sessions)))
        except (Closed, Timeout, OSError):
            pass

    def client(self, name, expiry, **options):
        """A connection that is open when this returns; whether there was a session."""
        client = Client(self.port, name, version=5, clean=False, properties={"session_expiry": expiry}, timeout=WAIT,
                        **options)
        try:
            present = client.connect().session_present
        except BaseException:
            client.cut()
            raise
        # What this CONNACK says is on disk, and so is what was submitted before it.
        for parted in self.parting:
            self.history.note(parted, "disarmed")
        self.parting.clear()
        return client, present

    def make_will(self, rng):
        self.number += 1
        name = f"mortal-{self.number}"
        delay, expiry = rng.choice(DELAYS), rng.choice(EXPIRIES)
        self.history.note(name, "armed", min(delay, expiry))
        client, _ = self.client(name, expiry, will={"topic": f"wills/{name}", "payload": name, "qos": 1,
                                                    "properties": {"will_delay": delay}})
        if expiry:
            # The will of a session that ends with its connection is not on disk: a kill may swallow it.
            self.history.note(name, "lives")
        self.connected[name] = client
        self.end_of(rng.random(), name, client, min(delay, expiry))

    def end_of(self, dice, name, client, due):
        if dice < 0.4:
            return
        del self.connected[name]
        if dice < 0.7:
            self.cut(name, client)
        elif dice < 0.85:
            # Without an answer to its goodbye nobody knows yet what became of the will.
            self.history.note(name, "doubted")
            client.disconnect()
            self.parting.append(name)
        else:
            self.cut(name, client)
            if due >= 1:
                self.come_back(name, due)

    def cut(self, name, client):
        self.history.note(name, "cut", self.history.now())
        client.cut()

    def come_back(self, name, due):
        """Within the will's delay: it is void when the CONNACK comes in time, else nobody knows."""
        went = self.history.now()
        self.history.note(name, "doubted")
        client, _ = self.client(name, 3600)
        if self.history.now() < went + due * 0.9:
            self.history.note(name, "disarmed")
        client.disconnect()

    def make_session(self, rng):
        self.number += 1
        name, expiry = f"session-{self.number}", rng.choice(EXPIRIES)
        client, _ = self.client(name, expiry)
        self.history.remark(name, "begins, expiry", expiry)
        self.part(name, expiry, client, rng.random() < 0.5)

    def part(self, name, expiry, client, stays):
        if stays:
            self.connected[name] = client
            self.sessions[name] = (expiry, None, None)
            return
        earliest = self.history.now()
        client.cut()
        self.history.remark(name, "is cut", earliest)
        self.sessions[name] = (expiry, earliest, None)

    def look_up(self, name):
        """Comes back to a session; says what was found and leaves for good."""
        expiry, earliest, latest = self.sessions[name]
        if earliest is None:
            return
        del self.sessions[name]
        client, present = self.client(name, 3600)
        self.history.note(name, "lapsed", expiry, earliest, latest, self.history.now(), present)
        client.cut()

    def killed(self, now):
        """The broker died, at this time at the earliest, and its clients with it."""
        for name, client in self.connected.items():
            if name in self.sessions:
                self.sessions[name] = (self.sessions[name][0], now, None)
            else:
                self.history.note(name, "cut", now)
            client.cut()
        self.connected.clear()

    def restarted(self, now):
        """The expiry of sessions that were open may count from here."""
        for name, (expiry, earliest, latest) in self.sessions.items():
            self.sessions[name] = (expiry, earliest, now)

    def wait_for_wills(self):
        """Until the last delay is over, with a second for the broker's timers."""
        time.sleep(max(DELAYS) + 1.0)
