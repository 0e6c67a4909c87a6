"""Scenarios about what a queue was declared to bound: its length, the life of its messages, its own."""

from amqp_scenarios import scenario


def published(stage, queue, *bodies):
    """Publishes with confirms; the numbers that were refused."""
    channel = stage.channel().select()
    for body in bodies:
        channel.publish("", queue, body)
    return sorted(channel.confirms())


@scenario
def length_of_a_queue(stage):
    three = stage.queue("three", arguments={"x-max-length": 3})
    stage.note("refused", published(stage, three, *"abcde"))
    stage.note("the oldest went", stage.bodies(three))
    channel = stage.channel()
    stage.fill(three, *"abc")
    channel.get(three)
    stage.fill(three, "d")
    stage.note("what is out does not count", stage.count(three))
    ten = stage.queue("ten", arguments={"x-max-length-bytes": 10})
    published(stage, ten, "aaaaa", "bbbbb", "ccccc")
    stage.note("bytes", stage.bodies(ten))
    published(stage, ten, "x", "larger than the queue")
    stage.note("one too large", stage.bodies(ten))
    none = stage.queue("none", arguments={"x-max-length": 0})
    published(stage, none, "a")
    stage.note("none at all", stage.bodies(none))


@scenario
def overflow_of_a_queue(stage):
    for durable in (False, True):
        word = "durable" if durable else "transient"
        queue = stage.queue(word, durable=durable, arguments={"x-max-length": 2, "x-overflow": "reject-publish"})
        refused = []
        for body in "abcd":
            channel = stage.channel().select()
            channel.publish("", queue, body, {"delivery_mode": 2})
            refused.append(bool(channel.confirms()))
        stage.note(f"{word}: refused", refused)
        stage.note(f"{word}: left", stage.bodies(queue))


@scenario
def life_of_a_message(stage):
    short = stage.queue("short", arguments={"x-message-ttl": 1})
    stage.fill(short, "a", "b")
    stage.until(lambda: stage.count(short)[0] == 0, "both expire")
    long = stage.queue("long", arguments={"x-message-ttl": 60_000})
    stage.fill(long, "its own is shorter", expiration="1")
    stage.until(lambda: stage.count(long)[0] == 0, "the shorter life counts")
    stage.note("left", [stage.bodies(short), stage.bodies(long)])


@scenario
def life_of_a_queue(stage):
    queue = stage.queue("q", arguments={"x-expires": 1})
    channel = stage.channel().select()

    def is_gone():
        # Looking at it by a declaration would be a use.
        channel.confirmed("", queue, "x", mandatory=True)
        return any(event.name == "basic.return" for event in channel.kept)

    stage.until(is_gone, "an unused queue goes")
    used = stage.queue("used", arguments={"x-expires": 1000})
    consumer = stage.channel()
    consumer.call("basic.consume", queue=used)
    other = stage.queue("shorter", arguments={"x-expires": 1000})
    channel.kept.clear()

    def other_is_gone():
        channel.confirmed("", other, "x", mandatory=True)
        return any(event.name == "basic.return" for event in channel.kept)

    stage.until(other_is_gone, "the unused one goes")
    stage.note("a consumer keeps it", stage.exists("queue", used))
