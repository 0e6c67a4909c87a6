"""Routing: prints the lines of the severities that are named, one binding each."""

import sys

from address import connect, consume, say

if not sys.argv[1:]:
    sys.exit(f"usage: {sys.argv[0]} SEVERITY...")
connection, channel = connect()
channel.exchange_declare(exchange="direct_logs", exchange_type="direct")
queue = channel.queue_declare(queue="", exclusive=True).method.queue
for severity in sys.argv[1:]:
    channel.queue_bind(exchange="direct_logs", queue=queue, routing_key=severity)
channel.basic_consume(queue=queue, auto_ack=True, on_message_callback=lambda ch, method, properties, body: say(
    f"received {method.routing_key}: {body.decode()}"))
consume(channel)
