"""mosquitto_sub for what comes, mosquitto_pub for what goes: a process for each."""

import subprocess
import threading

from clients import run
from harness import DEADLINE
from mqttpeers import Got, Peer, raw_bytes

VERSIONS = {3: "mqttv31", 4: "mqttv311", 5: "mqttv5"}
# The names that mosquitto's programs have for the properties of a PUBLISH.
NAMES = {
    "payload_format": "payload-format-indicator", "message_expiry": "message-expiry-interval",
    "content_type": "content-type", "response_topic": "response-topic", "correlation_data": "correlation-data",
    "topic_alias": "topic-alias",
}
# Between fields, where no test has it in a payload.
MARK = "\x1f"
FIELDS = ["%t", "%q", "%r", "%x", "%F", "%E", "%C", "%R", "%D", "%S", "%P"]


class Mosquitto(Peer):
    """A mosquitto_sub, started with the subscription, and a mosquitto_pub for each message."""

    def __init__(self, options):
        super().__init__(options)
        self.process, self.debug, self.number = None, [], 0
        if options.username is not None or options.will:
            self._start("$SYS/nothing", 0)

    def connected(self, times=1, timeout=DEADLINE):
        # Without a subscription there is no connection yet: each program makes its own.
        if not self.process:
            return 0
        code = super().connected(times, timeout)
        if code == 0:
            # It prints CONNACK before it counts as connected: asked to end in between, it says no DISCONNECT.
            self.until(lambda: [line for line in self.debug if line.startswith("Subscribed")], "SUBACK", timeout)
        return code

    def _common(self):
        options = self.options
        command = ["-h", "localhost", "-p", str(options.port), "-V", VERSIONS[options.version]]
        if options.ca:
            command += ["--cafile", options.ca]
        if options.username is not None:
            command += ["-u", options.username, "-P", options.password]
        return command

    def _start(self, name, qos, identifier=None):
        options = self.options
        command = ["stdbuf", "-oL", "mosquitto_sub", *self._common(), "-k", str(options.keepalive), "-d",
                   "-t", name, "-q", str(qos), "-F", MARK.join(FIELDS)]
        if options.client_id:
            command += ["-i", options.client_id]
        if not options.clean:
            command += ["-c"]
        if options.version == 5 and options.expiry is not None:
            command += ["-x", str(options.expiry)]
        if options.receive_maximum:
            command += ["-D", "connect", "receive-maximum", str(options.receive_maximum)]
        if options.alias_maximum:
            command += ["-D", "connect", "topic-alias-maximum", str(options.alias_maximum)]
        if options.will:
            will = options.will
            command += ["--will-topic", will["topic"], "--will-payload", raw_bytes(will["payload"]).decode(),
                        "--will-qos", str(will.get("qos", 0))] + (["--will-retain"] if will.get("retain") else [])
        if identifier is not None:
            command += ["-D", "subscribe", "subscription-identifier", str(identifier)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                        errors="surrogateescape")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.report(lambda: self._take(line.rstrip("\n")))
        self.report(lambda: self.closes.append(None))

    def _take(self, line):
        fields = line.split(MARK)
        if len(fields) >= len(FIELDS):
            self.got.append(_message(fields))
            return
        self.debug.append(line)
        if "received CONNACK (" in line:
            self.connects.append((int(line.rsplit("(", 1)[1].rstrip(")")), False))

    def subscribe(self, name, qos=0, identifier=None):
        if self.process:
            self.disconnect()
        before = len(self.debug)
        self._start(name, qos, identifier)
        self.until(lambda: [line for line in self.debug[before:] if line.startswith("Subscribed")], "SUBACK")
        line = next(line for line in self.debug[before:] if line.startswith("Subscribed"))
        return [int(code) for code in line.rsplit(": ", 1)[1].split(", ")]

    def send(self, topic, payload=b"", qos=0, retain=False, properties=None):
        command = ["mosquitto_pub", *self._common(), "-t", topic, "-q", str(qos), "-s" if payload else "-n"]
        command += ["-r"] if retain else []
        for name, value in (properties or {}).items():
            for pair in value if name == "user" else [None]:
                command += ["-D", "publish"] + (["user-property", *pair] if pair else [NAMES[name], _word(value)])
        return run(command, input=raw_bytes(payload).decode())

    def settle(self, sent, timeout=DEADLINE):
        assert sent.returncode == 0

    def disconnect(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
        self._end()

    def cut(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
        self._end()

    def _end(self):
        if self.process:
            self.process.wait(DEADLINE)
            self._reader.join(DEADLINE)


def _word(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def _message(fields):
    topic, qos, retain, payload, form, expiry, kind, response, correlation, ids, user = fields
    found = {"payload_format": form and int(form), "message_expiry": expiry and int(expiry), "content_type": kind,
             "response_topic": response, "correlation_data": correlation.encode(),
             "subscription_id": ids and [int(word) for word in ids.split()],
             "user": [tuple(pair.split(":", 1)) for pair in user.split()]}
    return Got(topic, bytes.fromhex(payload), int(qos), retain == "1",
               properties={name: value for name, value in found.items() if value})
