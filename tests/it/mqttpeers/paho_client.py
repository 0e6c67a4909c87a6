"""paho-mqtt with its own thread and its own reconnecting."""

import socket
import ssl

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from harness import DEADLINE
from mqttpeers import Got, Peer, raw_bytes

VERSIONS = {3: paho.MQTTv31, 4: paho.MQTTv311, 5: paho.MQTTv5}
NAMES = {
    "payload_format": "PayloadFormatIndicator", "message_expiry": "MessageExpiryInterval",
    "content_type": "ContentType", "response_topic": "ResponseTopic", "correlation_data": "CorrelationData",
    "topic_alias": "TopicAlias", "subscription_id": "SubscriptionIdentifier", "user": "UserProperty",
}


def to_properties(kind, given, **more):
    """paho's properties of a packet from the names of rawmqtt; `more` are paho's own names."""
    made = Properties(kind)
    for name, value in (given or {}).items():
        setattr(made, NAMES[name], value)
    for name, value in more.items():
        if value is not None:
            setattr(made, name, value)
    return made


def from_properties(given):
    return {name: getattr(given, theirs) for name, theirs in NAMES.items() if given and hasattr(given, theirs)}


def connect_properties(options):
    return to_properties(PacketTypes.CONNECT, None, SessionExpiryInterval=options.expiry,
                         ReceiveMaximum=options.receive_maximum, TopicAliasMaximum=options.alias_maximum)


def will_properties(will):
    return to_properties(PacketTypes.WILLMESSAGE, will.get("properties"), WillDelayInterval=will.get("delay"))


def message_of(message):
    return Got(message.topic, message.payload, message.qos, message.retain, message.dup,
               from_properties(message.properties))


def hang_up(client):
    """Ends paho's connection without DISCONNECT."""
    try:
        client.socket().shutdown(socket.SHUT_RDWR)
    except (OSError, AttributeError):
        pass


class Paho(Peer):
    """A paho client with its loop running."""

    def __init__(self, options):
        super().__init__(options)
        five = options.version == 5
        made = {} if five else {"clean_session": options.clean}
        self.client = client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=options.client_id,
                                           protocol=VERSIONS[options.version], **made)
        client.max_inflight_messages_set(50)
        client.reconnect_delay_set(1, 1)
        self.published, self.subscribed, self.unsubscribed = {}, {}, set()
        client.on_connect = self._connected
        client.on_disconnect = lambda _, __, flags, code, ___: self.report(
            lambda: self.closes.append(code.value if flags.is_disconnect_packet_from_server else None))
        client.on_message = lambda _, __, message: self.report(lambda: self.got.append(message_of(message)))
        client.on_publish = lambda _, __, mid, code, ___: self.report(
            lambda: self.published.__setitem__(mid, code.value))
        client.on_subscribe = lambda _, __, mid, codes, ___: self.report(
            lambda: self.subscribed.__setitem__(mid, [code.value for code in codes]))
        client.on_unsubscribe = lambda _, __, mid, ___, ____: self.report(lambda: self.unsubscribed.add(mid))
        if options.ca:
            client.tls_set_context(ssl.create_default_context(cafile=options.ca))
        if options.username is not None:
            client.username_pw_set(options.username, options.password)
        if options.will:
            will = options.will
            client.will_set(will["topic"], raw_bytes(will["payload"]), will.get("qos", 0), will.get("retain", False),
                            will_properties(will) if five else None)
        more = {"clean_start": options.clean, "properties": connect_properties(options)} if five else {}
        client.connect("localhost", options.port, keepalive=options.keepalive, **more)
        client.loop_start()

    def _connected(self, _client, _data, flags, code, properties):
        def change():
            self.assigned = getattr(properties, "AssignedClientIdentifier", None)
            # paho speaks of 3.1.1's codes in 5.0's words; the numbers below 0x80 are not to be had any more.
            self.connects.append((code.value, flags.session_present))
        self.report(change)

    def subscribe(self, name, qos=0, no_local=False, as_published=False, handling=0, identifier=None):
        if self.options.version == 5:
            options = SubscribeOptions(qos, no_local, as_published, handling)
            properties = to_properties(PacketTypes.SUBSCRIBE, None, SubscriptionIdentifier=identifier)
            _, mid = self.client.subscribe(name, options=options, properties=properties)
        else:
            _, mid = self.client.subscribe(name, qos)
        self.until(lambda: mid in self.subscribed, "SUBACK")
        return self.subscribed[mid]

    def unsubscribe(self, name):
        _, mid = self.client.unsubscribe(name)
        self.until(lambda: mid in self.unsubscribed, "UNSUBACK")

    def send(self, topic, payload=b"", qos=0, retain=False, properties=None):
        made = to_properties(PacketTypes.PUBLISH, properties) if properties else None
        return self.client.publish(topic, raw_bytes(payload), qos, retain, made)

    def settle(self, sent, timeout=DEADLINE):
        self.until(lambda: sent.mid in self.published, f"the end of publish {sent.mid}", timeout)
        return self.published[sent.mid]

    def disconnect(self):
        self.client.disconnect()
        self.client.loop_stop()

    def cut(self):
        # Without its reconnecting: the loop ends with the connection.
        self.client._reconnect_on_failure = False
        hang_up(self.client)
        self.client.loop_stop()
