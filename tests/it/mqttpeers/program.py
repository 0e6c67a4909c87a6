"""Clients in other languages: programs that take orders and tell events as JSON objects, one a line.

Orders: `connect` (the first), `subscribe`, `unsubscribe`, `publish` (with a `number`), `disconnect`. Events:
`connected`, `subscribed`, `unsubscribed`, `acked` (with that number), `message`, `closed`. Bytes are hexadecimal.
"""

import json
import subprocess
import threading
from dataclasses import asdict

from harness import DEADLINE, ROOT
from mqttpeers import Got, Peer, raw_bytes
from prepared import prepared, rust_client

CLIENTS = ROOT / "tests" / "mqtt-clients"


def _hexed(properties):
    return {name: value.hex() if name == "correlation_data" else value for name, value in properties.items()}


class Program(Peer):
    """A client in a process of its own."""

    def __init__(self, options):
        super().__init__(options)
        self.acked, self.subscribed, self.unsubscribed, self.number = {}, [], 0, 0
        command, folder = self.command()
        self.process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        bufsize=1)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        connect = {key: value for key, value in asdict(options).items() if value is not None}
        connect["id"] = connect.pop("client_id")
        if options.will:
            connect["will"] = {**options.will, "payload": raw_bytes(options.will["payload"]).hex()}
            if "properties" in options.will:
                connect["will"]["properties"] = _hexed(options.will["properties"])
        self.order("connect", **connect)

    def order(self, order, **fields):
        self.process.stdin.write(json.dumps({"order": order, **fields}) + "\n")
        self.process.stdin.flush()

    def _read(self):
        for line in self.process.stdout:
            event = json.loads(line)
            self.report(lambda: self._take(event.pop("event"), event))
        self.report(lambda: None)

    def _take(self, name, event):
        if name == "connected":
            self.assigned = event.get("assigned")
            self.connects.append((event["code"], event.get("present", False)))
        elif name == "message":
            properties = event["properties"]
            if "correlation_data" in properties:
                properties["correlation_data"] = bytes.fromhex(properties["correlation_data"])
            if "user" in properties:
                properties["user"] = [tuple(pair) for pair in properties["user"]]
            self.got.append(Got(event["topic"], bytes.fromhex(event["payload"]), event["qos"], event["retain"],
                                event["dup"], properties))
        elif name == "acked":
            self.acked[event["number"]] = event.get("code") or 0
        elif name == "subscribed":
            self.subscribed.append(event["codes"])
        elif name == "unsubscribed":
            self.unsubscribed += 1
        elif name == "closed":
            self.closes.append(event.get("code"))
        else:
            self.faults.append(event)

    def subscribe(self, name, qos=0, no_local=False, as_published=False, handling=0, identifier=None):
        before = len(self.subscribed)
        fields = {} if identifier is None else {"identifier": identifier}
        self.order("subscribe", filter=name, qos=qos, no_local=no_local, as_published=as_published, handling=handling,
                   version=self.options.version, **fields)
        self.until(lambda: len(self.subscribed) > before, "SUBACK")
        return self.subscribed[before]

    def unsubscribe(self, name):
        before = self.unsubscribed
        self.order("unsubscribe", filter=name)
        self.until(lambda: self.unsubscribed > before, "UNSUBACK")

    def send(self, topic, payload=b"", qos=0, retain=False, properties=None):
        self.number += 1
        fields = {"properties": _hexed(properties)} if properties else {}
        self.order("publish", number=self.number, topic=topic, payload=raw_bytes(payload).hex(), qos=qos,
                   retain=retain, **fields)
        return self.number

    def settle(self, number, timeout=DEADLINE):
        self.until(lambda: number in self.acked, f"the end of publish {number}", timeout)
        return self.acked[number]

    def disconnect(self):
        self.order("disconnect")
        self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)

    def cut(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)


class Rumqttc(Program):
    """rumqttc: its v4 client for 3.1.1, its v5 client for 5.0."""

    def command(self):
        return [rust_client(CLIENTS / "rumqttc")], None


class MqttJs(Program):
    """MQTT.js under Node."""

    def command(self):
        sources = [CLIENTS / "node" / name for name in ("package.json", "client.js")]
        folder = prepared("mqttjs", sources, ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"])
        return ["node", "client.js"], folder
