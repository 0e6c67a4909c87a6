"""RPC: answers numbers in `rpc_queue` with their Fibonacci number, where and under which id it was asked to."""

import pika
from address import connect, consume, say

connection, channel = connect()
channel.queue_declare(queue="rpc_queue")


def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def answer(channel, method, properties, body):
    n = int(body)
    say(f"asked for fib({n})")
    channel.basic_publish(exchange="", routing_key=properties.reply_to, body=str(fib(n)),
                          properties=pika.BasicProperties(correlation_id=properties.correlation_id))
    channel.basic_ack(delivery_tag=method.delivery_tag)


channel.basic_qos(prefetch_count=1)
channel.basic_consume(queue="rpc_queue", on_message_callback=answer)
consume(channel)
