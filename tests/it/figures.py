"""What the speed gates have in common: one figure of both brokers, its bound, and the row that tells of it."""

import statistics
from dataclasses import dataclass


@dataclass
class Figure:
    """One number of a run's JSON line and what it may be: a share of the other broker's, or so many of its own unit;
    with neither it is only told."""

    name: str
    key: str
    unit: str
    share: float | None = None
    most: float | None = None
    # Rates are better when they are high: then `share` is how many times the other's.
    high: bool = False

    def holds(self, theirs, ours, median):
        if self.most is not None:
            return statistics.median(ours) <= self.most
        if self.share is None:
            return True
        return median >= self.share if self.high else median <= self.share

    def bound(self):
        if self.most is not None:
            return f"≤ {self.most:g} {self.unit}"
        if self.share is None:
            return "–"
        if self.high:
            return f"≥ {self.share:g}×"
        return f"≤ {self.share:g}×" if self.share >= 1 else f"≤ 1/{1 / self.share:g}"


def head(other):
    """The table's head; `other` is who is measured beside Rialto."""
    text = f"{'figure':32} {'bound':>10} {'median':>9} {'lowest':>8} {'highest':>8}   {other:>14} {'rialto':>14}"
    print(text)
    print("-" * len(text))


def tell(figure, theirs, ours):
    """Prints one row; whether its bound holds."""
    ratios = [mine / max(other, 1e-9) for other, mine in zip(theirs, ours, strict=True)]
    median = statistics.median(ratios)
    holds = figure.holds(theirs, ours, median)
    print(f"{figure.name:32} {figure.bound():>10} {median:8.3f}× {min(ratios):7.3f}× {max(ratios):7.3f}×   "
          f"{statistics.median(theirs):11.3f} {figure.unit:2} {statistics.median(ours):11.3f} {figure.unit:2}"
          f"{'' if holds else '   MISSED'}", flush=True)
    return holds


def wanted(options, figures):
    return not options.only or any(options.only in figure.name for figure in figures)
