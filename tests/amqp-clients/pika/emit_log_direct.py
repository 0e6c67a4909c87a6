"""Routing: a line with its severity as routing key, to the direct exchange `direct_logs`."""

import sys

from address import connect, say

connection, channel = connect()
channel.exchange_declare(exchange="direct_logs", exchange_type="direct")
severity = sys.argv[1] if len(sys.argv) > 1 else "info"
line = " ".join(sys.argv[2:]) or "Hello World!"
channel.basic_publish(exchange="direct_logs", routing_key=severity, body=line)
say(f"sent {severity}: {line}")
connection.close()
