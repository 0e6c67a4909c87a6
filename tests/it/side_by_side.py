"""Notes of one scenario, played against another server and against Rialto, and the differences that are meant.

A differences file lists, by scenario and notes, what differs and why; what is not listed must agree, and what is listed
must differ.
"""

import json
import tomllib


def apart(theirs, ours, path=""):
    """Where two notes differ: [(path, theirs, ours)]."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return [found for key in dict.fromkeys([*theirs, *ours])
                for found in apart(theirs.get(key), ours.get(key), f"{path}.{key}")]
    if isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        return [found for number, pair in enumerate(zip(theirs, ours)) for found in apart(*pair, f"{path}[{number}]")]
    return [] if theirs == ours else [(path.lstrip("."), theirs, ours)]


# How often the peer may play a scenario until it and Rialto agree.
PEER_ROUNDS = 3


class Differences:
    """The differences from `peer` that `path` lists."""

    def __init__(self, path, peer):
        self.entries, self.peer = tomllib.loads(path.read_text()).get("difference", []), peer

    def check(self, scenarios):
        """Each belongs to a scenario that there is, and has a reason."""
        for entry in self.entries:
            assert set(entry) <= {"scenario", "notes", "reason", "rialto"}, entry
            assert entry["scenario"] in scenarios, f"no scenario {entry['scenario']}"
            assert entry["notes"] and len(entry["reason"]) > 15, entry

    def listed(self, name):
        """{label: entry} of one scenario."""
        found = {}
        for entry in self.entries:
            if entry["scenario"] == name:
                for label in entry["notes"]:
                    assert label not in found, f"{name}: {label} is listed twice"
                    found[label] = entry
        return found

    def compare(self, name, theirs, ours):
        """What is wrong between two servers' notes of a scenario, as lines."""
        faults, expected = [], self.listed(name)
        for label in dict.fromkeys([*theirs, *ours]):
            told = label + "".join(f"\n      {path or 'all'}\n          {self.peer}: {json.dumps(one)}"
                                   f"\n          rialto: {json.dumps(other)}"
                                   for path, one, other in apart(theirs.get(label), ours.get(label)))
            entry = expected.pop(label, None)
            if (theirs.get(label) == ours.get(label)) != (entry is None):
                faults.append(f"{'differs' if entry is None else 'no longer differs, but is listed'}: {told}")
            elif entry is not None and "rialto" in entry and ours.get(label) != entry["rialto"]:
                faults.append(f"differs in another way than listed ({json.dumps(entry['rialto'])}): {told}")
        return faults + [f"listed, but never noted: {label}" for label in expected]

    def hold(self, name, theirs, ours):
        """Asserts that `theirs()`, a play of the peer's, and our notes differ as listed. The peer plays again if not: what
        its processes tell each other takes as long as it takes on a busy machine, and a note may come before."""
        for _ in range(PEER_ROUNDS):
            faults = self.compare(name, theirs(), ours)
            if not faults:
                break
        assert not faults, f"{name}:\n  " + "\n  ".join(faults)
