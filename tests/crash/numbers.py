"""Sets of natural numbers that are nearly all there: what every account of many messages is kept in."""


class Numbers:
    """Multiples of `step`: a gapless beginning, of which only the end is kept, and whatever lies beyond."""

    __slots__ = ("step", "upto", "rest")

    def __init__(self, numbers=(), step=1):
        self.step, self.upto, self.rest = step, 0, set()
        for number in numbers:
            self.add(number)

    def __contains__(self, number):
        return number in self.rest or (0 <= number < self.upto and number % self.step == 0)

    def add(self, number):
        if number != self.upto:
            if number > self.upto:
                self.rest.add(number)
            return
        self.upto += self.step
        while self.upto in self.rest:
            self.rest.remove(self.upto)
            self.upto += self.step

    def without(self, other, step=None):
        """Those that are not in `other`, in order; multiples of `step` only, if there is one."""
        step = step or self.step
        first = -(-min(self.upto, other.upto) // step) * step
        beyond = [number for number in range(first, self.upto, step) if number not in other]
        return beyond + sorted(number for number in self.rest if number % step == 0 and number not in other)

    def __len__(self):
        return self.upto // self.step + len(self.rest)

    def __iter__(self):
        yield from range(0, self.upto, self.step)
        yield from sorted(self.rest)

    def __eq__(self, other):
        return isinstance(other, Numbers) and (self.step, self.upto, self.rest) == (other.step, other.upto, other.rest)

    __hash__ = None
