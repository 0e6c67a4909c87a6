"""aiomqtt as its manual says: `async with Client`, `async for message`, and the application connects again."""

import asyncio
import ssl
import threading

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.subscribeoptions import SubscribeOptions

from harness import DEADLINE
from mqttpeers import Got, Peer, raw_bytes
from mqttpeers.paho_client import connect_properties, from_properties, hang_up, to_properties, will_properties

VERSIONS = {3: aiomqtt.ProtocolVersion.V31, 4: aiomqtt.ProtocolVersion.V311, 5: aiomqtt.ProtocolVersion.V5}


class Aiomqtt(Peer):
    """A client in an event loop of its own, in a thread of its own."""

    def __init__(self, options):
        super().__init__(options)
        self.loop, self.client, self.leaving = asyncio.new_event_loop(), None, False
        self.online = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._live())
        self.loop.close()

    def _make(self):
        options, five = self.options, self.options.version == 5
        made = {"clean_start": options.clean, "properties": connect_properties(options)} if five else {
            "clean_session": options.clean}
        if options.ca:
            made["tls_context"] = ssl.create_default_context(cafile=options.ca)
        if options.will:
            will = options.will
            made["will"] = aiomqtt.Will(will["topic"], raw_bytes(will["payload"]), will.get("qos", 0),
                                        will.get("retain", False), will_properties(will) if five else None)
        return aiomqtt.Client("localhost", options.port, username=options.username, password=options.password,
                              identifier=options.client_id, protocol=VERSIONS[options.version],
                              keepalive=options.keepalive, max_inflight_messages=50, **made)

    async def _live(self):
        self.online, self.gone = asyncio.Event(), asyncio.Event()
        # One client for all connections: what waits for its acknowledgement waits in it.
        client = self.client = self._make()
        while not self.leaving:
            try:
                async with client:
                    self.report(lambda: self.connects.append((0, False)))
                    self.online.set()
                    reading = asyncio.create_task(self._read(client))
                    leaving = asyncio.create_task(self.gone.wait())
                    await asyncio.wait([reading, leaving], return_when=asyncio.FIRST_COMPLETED)
                    for task in (reading, leaving):
                        task.cancel()
                    if reading.done() and not reading.cancelled():
                        reading.result()
            except aiomqtt.MqttError as error:
                code = getattr(error, "rc", None)
                if not self.online.is_set() and code is not None:
                    self.report(lambda: self.connects.append((getattr(code, "value", code), False)))
                else:
                    self.report(lambda: self.closes.append(None))
                self.online.clear()
                if not self.leaving:
                    await asyncio.sleep(0.2)

    async def _read(self, client):
        async for message in client.messages:
            got = Got(str(message.topic), message.payload, message.qos, message.retain, False,
                      from_properties(message.properties))
            self.report(lambda: self.got.append(got))

    def _do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def subscribe(self, name, qos=0, no_local=False, as_published=False, handling=0, identifier=None):
        if self.options.version == 5:
            asked = self.client.subscribe(
                name, options=SubscribeOptions(qos, no_local, as_published, handling),
                properties=to_properties(PacketTypes.SUBSCRIBE, None, SubscriptionIdentifier=identifier))
        else:
            asked = self.client.subscribe(name, qos)
        return [getattr(code, "value", code) for code in self._do(asked).result(DEADLINE)]

    def unsubscribe(self, name):
        self._do(self.client.unsubscribe(name)).result(DEADLINE)

    async def _publish(self, *arguments):
        """As applications do it: what failed because the connection did is published again."""
        while True:
            await self.online.wait()
            try:
                return await self.client.publish(*arguments, timeout=60)
            except aiomqtt.MqttError:
                await asyncio.sleep(0.2)

    def send(self, topic, payload=b"", qos=0, retain=False, properties=None):
        made = to_properties(PacketTypes.PUBLISH, properties) if properties else None
        return self._do(self._publish(topic, raw_bytes(payload), qos, retain, made))

    def settle(self, sent, timeout=DEADLINE):
        sent.result(timeout)

    def disconnect(self):
        self.leaving = True
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.gone.set)
        self.thread.join(DEADLINE)

    def cut(self):
        self.leaving = True
        hang_up(self.client._client)
        self.disconnect()
