"""RPC: asks for the Fibonacci number of N, with an exclusive queue for the answer."""

import sys
import uuid

import pika
from address import connect, say

n = sys.argv[1] if len(sys.argv) > 1 else "30"
connection, channel = connect()
callback = channel.queue_declare(queue="", exclusive=True).method.queue
question, answers = str(uuid.uuid4()), []


def take(channel, method, properties, body):
    if properties.correlation_id == question:
        answers.append(int(body))


channel.basic_consume(queue=callback, on_message_callback=take, auto_ack=True)
channel.basic_publish(exchange="", routing_key="rpc_queue", body=n,
                      properties=pika.BasicProperties(reply_to=callback, correlation_id=question))
while not answers:
    connection.process_data_events(time_limit=None)
say(f"fib({n}) = {answers[0]}")
connection.close()
