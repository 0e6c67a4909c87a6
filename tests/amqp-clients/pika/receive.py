"""Hello world: prints what comes into the queue `hello`."""

from address import connect, consume, say

connection, channel = connect()
channel.queue_declare(queue="hello")
channel.basic_consume(queue="hello", auto_ack=True,
                      on_message_callback=lambda ch, method, properties, body: say(f"received {body.decode()}"))
consume(channel)
