"""Where the broker is: the tutorials' localhost:5672 with guest's login, or what AMQP_URL says."""

import os

import pika


def connect():
    """A connection and a channel, as every tutorial begins."""
    connection = pika.BlockingConnection(pika.URLParameters(os.environ.get("AMQP_URL", "amqp://localhost:5672/%2F")))
    return connection, connection.channel()


def say(text):
    """A line at once, also into a pipe."""
    print(text, flush=True)


def consume(channel):
    """Says that messages may come, and takes them until the program is ended."""
    say("waiting")
    try:
        channel.start_consuming()
    except KeyboardInterrupt:
        channel.stop_consuming()
