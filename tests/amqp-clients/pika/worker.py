"""Work queues: takes one task at a time and acknowledges it when it is done; a dot takes DOT_SECONDS."""

import os
import time

from address import connect, consume, say

connection, channel = connect()
channel.queue_declare(queue="task_queue", durable=True)


def work(channel, method, properties, body):
    task = body.decode()
    say(f"received {task}")
    time.sleep(task.count(".") * float(os.environ.get("DOT_SECONDS", "1")))
    channel.basic_ack(delivery_tag=method.delivery_tag)
    say(f"done {task}")


channel.basic_qos(prefetch_count=1)
channel.basic_consume(queue="task_queue", on_message_callback=work)
consume(channel)
