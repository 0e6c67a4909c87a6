"""A run that must fail: from one cycle on the disk says that it wrote the journal, and did not.

Nothing else makes kill -9 lose anything that the broker wrote: syncs that are not done do not matter to it, since what
was written lies in the page cache, which outlives the process. Power cuts are what tests of `store/` are for.
"""

from crash.driver import Driver
from crash.scene import settings

VARIABLE = "RIALTO_TEST_DISK"
# No checkpoint saves what the journal lost, and no new segment lacks its header, which would be damage, not loss.
SETTINGS = settings(journal={"segment_bytes": "64MiB"},
                    checkpoint={"interval_s": 3600, "journal_bytes": "1GiB", "memory_bytes": "64MiB"})


class LossyDriver(Driver):
    """Breaks the disk in one cycle while everybody works, and mends it before the restart."""

    drains = 1

    def __init__(self, *arguments, faults, fault="write journal lose", since=1, **options):
        super().__init__(*arguments, **options)
        self.faults, self.fault, self.since = faults, fault, since
        self.mend()

    def mend(self):
        self.faults.write_text("# none\n")

    def before_the_end(self, number, crew):
        if number >= self.since:
            self.history.remark("broker", "disk", self.fault)
            self.faults.write_text(self.fault + "\n")
            # Clients are told that these are safe.
            crew.worked(500, 5.0)

    def restart(self, number, acks, moment):
        self.mend()
        super().restart(number, acks, moment)
