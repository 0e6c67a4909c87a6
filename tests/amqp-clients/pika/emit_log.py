"""Publish/subscribe: one line for everybody who listens to the fanout exchange `logs`."""

import sys

from address import connect, say

connection, channel = connect()
channel.exchange_declare(exchange="logs", exchange_type="fanout")
line = " ".join(sys.argv[1:]) or "info: Hello World!"
channel.basic_publish(exchange="logs", routing_key="", body=line)
say(f"sent {line}")
connection.close()
