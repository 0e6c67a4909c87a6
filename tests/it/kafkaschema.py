"""Requests and answers of every Kafka API at every version, by Apache Kafka's own definitions.

The definitions (common/message/*.json) lie in the kafka-clients jar that Maven fetched. Bodies are plain dicts with the
definitions' names in camelCase; what is left out of a request takes the default that they give.
"""

import functools
import json
import re
import struct
import uuid
import zipfile
from types import SimpleNamespace

from apache_kafka import java_folder

FIXED = {"bool": "?", "int8": "b", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q",
         "float64": "d"}


def versions(text):
    """("3-5") -> (3, 5); "none" holds no version."""
    if text in (None, "none"):
        return 1, 0
    low, dash, high = text.partition("-")
    if low.endswith("+"):
        return int(low[:-1]), 1 << 15
    return int(low), int(high) if dash else int(low)


def within(version, text):
    low, high = versions(text)
    return low <= version <= high


@functools.cache
def definitions():
    """{api name: SimpleNamespace(key, request, response)}, and the structs that are no API's by their own names."""
    found, apis = {}, {}
    jars = sorted((java_folder() / "target" / "dependency").glob("kafka-clients-*.jar"))
    with zipfile.ZipFile(jars[-1]) as jar:
        for name in jar.namelist():
            if re.fullmatch(r"common/message/\w+\.json", name):
                text = re.sub(r"^\s*//.*$|(?<=[\s,{}\[\]])//.*$", "", jar.read(name).decode(), flags=re.M)
                message = _camel(json.loads(text))
                found[message["name"]] = message
    for name, message in found.items():
        if message["type"] == "request":
            api = name.removesuffix("Request")
            apis[api] = SimpleNamespace(key=message["apiKey"], request=message, response=found[api + "Response"])
        elif message["type"] == "data":
            apis[name] = message
    return apis


def _camel(struct_):
    """The names of fields as Kafka's own tools print them; those of structs stay."""
    for field in struct_.get("fields", ()):
        field["name"] = field["name"][0].lower() + field["name"][1:]
        _camel(field)
    for common in struct_.get("commonStructs", ()):
        _camel(common)
    return struct_


class Writer:
    """Bytes of one struct after another."""

    def __init__(self):
        self.parts = []

    def fixed(self, form, value):
        self.parts.append(struct.pack("!" + form, value))

    def varint(self, value):
        while value > 0x7F:
            self.parts.append(bytes([value & 0x7F | 0x80]))
            value >>= 7
        self.parts.append(bytes([value]))

    def size(self, length, flexible, form):
        """A length; None is null."""
        if flexible:
            self.varint(0 if length is None else length + 1)
        else:
            self.fixed(form, -1 if length is None else length)

    def value(self, kind, value, field, version, flexible, structs):
        if kind.startswith("[]"):
            self.size(None if value is None else len(value), flexible, "i")
            for item in value or ():
                self.value(kind[2:], item, field, version, flexible, structs)
        elif kind in FIXED:
            self.fixed(FIXED[kind], value)
        elif kind == "uuid":
            self.parts.append(uuid.UUID(value).bytes if isinstance(value, str) else value)
        elif kind in ("string", "bytes", "records"):
            data = value.encode() if isinstance(value, str) else value
            self.size(None if data is None else len(data), flexible, "h" if kind == "string" else "i")
            self.parts.append(data or b"")
        else:
            nullable = within(version, field.get("nullableVersions")) and not field["type"].startswith("[]")
            if nullable:
                self.fixed("b", -1 if value is None else 1)
            if value is not None:
                self.struct(field.get("fields") or structs[kind], value, version, flexible, structs)

    def struct(self, fields, values, version, flexible, structs):
        unknown = set(values) - {field["name"] for field in fields}
        assert not unknown, f"no such fields: {unknown}"
        tagged = []
        for field in fields:
            name = field["name"]
            if within(version, field.get("taggedVersions")):
                if name in values:
                    tagged.append((field["tag"], field, values[name]))
                continue
            if not within(version, field["versions"]):
                continue
            self.value(field["type"], values.get(name, _default(field, version)), field, version,
                       flexible and field.get("flexibleVersions") != "none", structs)
        if flexible:
            self.varint(len(tagged))
            for tag, field, value in sorted(tagged, key=lambda entry: entry[0]):
                inner = Writer()
                inner.value(field["type"], value, field, version, True, structs)
                data = b"".join(inner.parts)
                self.varint(tag)
                self.varint(len(data))
                self.parts.append(data)


def _default(field, version):
    given, kind = field.get("default"), field["type"]
    if given == "null" or (given is None and kind == "records"):
        return None
    if kind.startswith("[]"):
        return []
    if kind in FIXED:
        if kind == "bool":
            return str(given).lower() == "true"
        return float(given or 0) if kind == "float64" else int(str(given or 0), 0)
    if kind == "uuid":
        return bytes(16)
    if kind == "string":
        return given or ""
    return b"" if kind == "bytes" else {}


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        assert size >= 0 and self.at + size <= len(self.data), f"{size} bytes at {self.at} of {len(self.data)}"
        self.at += size
        return self.data[self.at - size:self.at]

    def fixed(self, form):
        return struct.unpack("!" + form, self.take(struct.calcsize("!" + form)))[0]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def size(self, flexible, form):
        length = self.varint() - 1 if flexible else self.fixed(form)
        assert length >= -1, f"length {length}"
        return None if length == -1 else length

    def value(self, kind, field, version, flexible, structs):
        if kind.startswith("[]"):
            count = self.size(flexible, "i")
            return None if count is None else [self.value(kind[2:], field, version, flexible, structs)
                                               for _ in range(count)]
        if kind in FIXED:
            return self.fixed(FIXED[kind])
        if kind == "uuid":
            return str(uuid.UUID(bytes=bytes(self.take(16))))
        if kind in ("string", "bytes", "records"):
            length = self.size(flexible, "h" if kind == "string" else "i")
            data = None if length is None else bytes(self.take(length))
            return data.decode() if kind == "string" and data is not None else data
        nullable = within(version, field.get("nullableVersions")) and not field["type"].startswith("[]")
        if nullable and self.fixed("b") < 0:
            return None
        return self.struct(field.get("fields") or structs[kind], version, flexible, structs)

    def struct(self, fields, version, flexible, structs):
        values, tags = {}, {}
        for field in fields:
            if within(version, field.get("taggedVersions")):
                tags[field["tag"]] = field
            elif within(version, field["versions"]):
                values[field["name"]] = self.value(field["type"], field, version,
                                                   flexible and field.get("flexibleVersions") != "none", structs)
        if flexible:
            for _ in range(self.varint()):
                tag, size = self.varint(), self.varint()
                end, field = self.at + size, tags.get(tag)
                if field is None:
                    values[f"tag {tag}"] = bytes(self.take(size)).hex()
                else:
                    values[field["name"]] = self.value(field["type"], field, version, True, structs)
                assert self.at == end, f"tag {tag} is {size} bytes long, read {self.at - end} more"
        return values


def _structs(message):
    return {common["name"]: common["fields"] for common in message.get("commonStructs", ())}


def is_flexible(api, version):
    return within(version, definitions()[api].request["flexibleVersions"])


def valid_versions(api):
    """What the definitions hold of an API, as (lowest, highest)."""
    return versions(definitions()[api].request["validVersions"])


def write(message, version, values):
    writer = Writer()
    writer.struct(message["fields"], values, version, within(version, message["flexibleVersions"]), _structs(message))
    return b"".join(writer.parts)


def read(message, version, data):
    """The struct and how many bytes it took."""
    reader = Reader(data)
    values = reader.struct(message["fields"], version, within(version, message["flexibleVersions"]),
                           _structs(message))
    return values, reader.at


def request(api, version, correlation, values, client="it"):
    """A request without its length."""
    definition = definitions()[api]
    head = struct.pack("!hhi", definition.key, version, correlation)
    head += struct.pack("!h", -1) if client is None else struct.pack("!h", len(client)) + client.encode()
    if is_flexible(api, version):
        head += b"\0"
    return head + write(definition.request, version, values)


def answer(api, version, data):
    """(correlation id, body) of an answer without its length; every byte must be accounted for."""
    correlation, at = struct.unpack_from("!i", data)[0], 4
    if is_flexible(api, version) and api != "ApiVersions":
        assert data[at] == 0, "tags in the answer's header"
        at += 1
    values, used = read(definitions()[api].response, version, data[at:])
    assert at + used == len(data), f"{api} v{version}: {len(data) - at - used} bytes behind the answer: {values}"
    return correlation, values


def data(name, version, values):
    """A data struct as it travels inside others, its version before it: consumers' subscriptions and assignments."""
    return struct.pack("!h", version) + write(definitions()[name], version, values)


def read_data(name, packed):
    version = struct.unpack_from("!h", packed)[0]
    return read(definitions()[name], version, packed[2:])[0]
