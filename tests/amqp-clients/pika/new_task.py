"""Work queues: puts a task into the durable queue `task_queue`; every dot in it is some work."""

import sys

import pika
from address import connect, say

connection, channel = connect()
channel.queue_declare(queue="task_queue", durable=True)
task = " ".join(sys.argv[1:]) or "Hello World!"
channel.basic_publish(exchange="", routing_key="task_queue", body=task,
                      properties=pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent))
say(f"sent {task}")
connection.close()
