"""Publish/subscribe: prints every line of `logs`, from a queue of its own that nobody else knows."""

from address import connect, consume, say

connection, channel = connect()
channel.exchange_declare(exchange="logs", exchange_type="fanout")
queue = channel.queue_declare(queue="", exclusive=True).method.queue
channel.queue_bind(exchange="logs", queue=queue)
channel.basic_consume(queue=queue, auto_ack=True,
                      on_message_callback=lambda ch, method, properties, body: say(f"received {body.decode()}"))
consume(channel)
