"""With --long: aiokafka and kafkajs, which speak older versions than the others (issue 5, "Proof")."""

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from clients import run
from harness import ROOT
from kafkaclients import address, committed, ends
from prepared import prepared

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

NODE = ROOT / "tests" / "kafka-clients" / "node"


def test_kafkajs(shared, unique, long):
    if not long:
        pytest.skip("with --long")
    folder = prepared("kafkajs", [NODE / name for name in ("package.json", "client.js")],
                      ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"])
    said = run(["node", "client.js", address(shared), unique], cwd=folder, timeout=200).stdout.splitlines()
    assert said == ["made true", "stored 200", "shared 2 2", "group Empty", "committed 400", "deleted true"], said


async def until(condition, what):
    for _ in range(2000):
        if await condition() if asyncio.iscoroutinefunction(condition) else condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"not within 40 s: {what}")


class Member:
    """A consumer of a group as a task."""

    def __init__(self, broker, group, topic):
        self.consumer = AIOKafkaConsumer(topic, bootstrap_servers=address(broker), group_id=group,
                                         auto_offset_reset="earliest", heartbeat_interval_ms=200,
                                         enable_auto_commit=False, metadata_max_age_ms=1000)
        self.rows = []

    async def start(self):
        await self.consumer.start()
        self.task = asyncio.create_task(self.read())
        return self

    async def read(self):
        async for row in self.consumer:
            self.rows.append((row.partition, row.offset, row.value))
            await self.consumer.commit()

    def held(self):
        return {part.partition for part in self.consumer.assignment()}

    async def stop(self):
        self.task.cancel()
        try:
            await self.task
        except asyncio.CancelledError:
            pass
        await self.consumer.stop()


async def aiokafka_life(broker, topic):
    """Administration, an idempotent producer, two members, then one, positions."""
    admin = AIOKafkaAdminClient(bootstrap_servers=address(broker))
    await admin.start()
    await admin.create_topics([NewTopic(topic, 4, 1)])

    async def listed():
        return topic in await admin.list_topics()

    await until(listed, "it is listed")
    producer = AIOKafkaProducer(bootstrap_servers=address(broker), enable_idempotence=True)
    await producer.start()

    async def send(numbers):
        await asyncio.gather(*[await producer.send(topic, key=b"%d" % n, value=b"%d" % n) for n in numbers])

    await send(range(100))
    group, members = f"g-{topic}", []
    members.append(await Member(broker, group, topic).start())
    await until(lambda: len(members[0].rows) == 100, "the first reads everything")
    members.append(await Member(broker, group, topic).start())
    await until(lambda: [len(member.held()) for member in members] == [2, 2], "each has two partitions")
    assert members[0].held() | members[1].held() == {0, 1, 2, 3}
    await send(range(100, 200))
    await until(lambda: len({row[2] for member in members for row in member.rows}) == 200, "both read on")
    await members[1].stop()
    await until(lambda: members[0].held() == {0, 1, 2, 3}, "the one that is left has all of them")
    await until(lambda: committed(broker, group, topic) == ends(broker, topic), "everything is committed")
    await members[0].stop()
    consumer = AIOKafkaConsumer(bootstrap_servers=address(broker))
    await consumer.start()
    part = TopicPartition(topic, 0)
    assert (await consumer.beginning_offsets([part]))[part] == 0
    found = await consumer.offsets_for_times({part: 0})
    assert found[part].offset == 0
    await consumer.stop()
    await producer.stop()
    await admin.close()


def test_aiokafka(shared, unique, long):
    if not long:
        pytest.skip("with --long")
    asyncio.run(aiokafka_life(shared, unique))
