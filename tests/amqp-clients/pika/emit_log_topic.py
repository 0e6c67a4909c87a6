"""Topics: a line under FACILITY.SEVERITY, to the topic exchange `topic_logs`."""

import sys

from address import connect, say

connection, channel = connect()
channel.exchange_declare(exchange="topic_logs", exchange_type="topic")
key = sys.argv[1] if len(sys.argv) > 1 else "anonymous.info"
line = " ".join(sys.argv[2:]) or "Hello World!"
channel.basic_publish(exchange="topic_logs", routing_key=key, body=line)
say(f"sent {key}: {line}")
connection.close()
