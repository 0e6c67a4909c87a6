"""Topics: prints the lines that match one of the patterns: `*` is one word, `#` any number."""

import sys

from address import connect, consume, say

if not sys.argv[1:]:
    sys.exit(f"usage: {sys.argv[0]} PATTERN...")
connection, channel = connect()
channel.exchange_declare(exchange="topic_logs", exchange_type="topic")
queue = channel.queue_declare(queue="", exclusive=True).method.queue
for pattern in sys.argv[1:]:
    channel.queue_bind(exchange="topic_logs", queue=queue, routing_key=pattern)
channel.basic_consume(queue=queue, auto_ack=True, on_message_callback=lambda ch, method, properties, body: say(
    f"received {method.routing_key}: {body.decode()}"))
consume(channel)
