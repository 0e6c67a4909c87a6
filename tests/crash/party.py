"""Whoever takes part: a name, connections that the broker's end cuts, its own dice; and what messages look like."""

import contextlib
import functools
import random

WAIT = 30.0


@functools.cache
def _noise():
    return "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=2000))


def padding(number):
    """What fills a message up to a size of its own, the same whenever it is asked for."""
    at = number * 7919 % 1300
    return _noise()[at:at + number * 104_729 % 600]


def text_of(who, number):
    return f"{who}:{number}:{padding(number)}"


def read_text(history, place, text):
    """(who, number) of a message that was found; notes one that is not whole."""
    who, _, rest = text.partition(":")
    number, _, rest = rest.partition(":")
    if not number.isdigit():
        history.note(place, "wrong", "damaged", f"{text[:60]!r} is no message of ours")
        return "damaged", 0
    if who != "mark" and rest != padding(int(number)):
        history.note(place, "wrong", "damaged", f"{who}:{number} is not whole")
    return who, int(number)


class Party:
    """Someone with a connection; `step` is one round of what it does, "leave" its wish for a new connection.

    A new connection takes over while the broker still has the old one. What a subclass must have: `history`, `name`,
    `connect(port)`, `step(rng, on_ack)`, `hang_up()` which returns what has a `cut` or `close`, `timeouts` and `ends`:
    the exceptions that mean that nothing came, and that the connection is gone.
    """

    timeouts, ends = (), ()

    def run(self, port, stop, rng, on_ack=lambda: None):
        """Takes part until the connection breaks or `stop` is set."""
        left = []
        self.rng = rng
        try:
            self.connect(port)
            while not stop.is_set():
                with contextlib.suppress(*self.timeouts):
                    if self.step(rng, on_ack) == "leave":
                        left.append(self.hang_up())
                        self.connect(port)
        except (*self.ends, *self.timeouts, OSError):
            pass
        finally:
            left.append(self.hang_up())
            for connection in filter(None, left):
                (connection.cut if hasattr(connection, "cut") else connection.close)()
