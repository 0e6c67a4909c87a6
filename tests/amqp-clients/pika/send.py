"""Hello world: puts one message into the queue `hello`, by way of the default exchange."""

from address import connect, say

connection, channel = connect()
channel.queue_declare(queue="hello")
channel.basic_publish(exchange="", routing_key="hello", body="Hello World!")
say("sent Hello World!")
connection.close()
