// RabbitMQ's six tutorials with the Java client in one program, and what applications do besides: confirms, returns,
// direct reply-to, refused channels. Prints one line a part; the broker is where AMQP_URL says.

import com.rabbitmq.client.AMQP.BasicProperties;
import com.rabbitmq.client.AlreadyClosedException;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.Delivery;
import com.rabbitmq.client.MessageProperties;
import com.rabbitmq.client.ShutdownSignalException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

public final class Tutorials {
    private static final long PATIENCE_S = 20;

    private interface Refused {
        void work(Channel channel) throws IOException;
    }

    private record Task(String worker, String text) {}

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static String text(Delivery delivery) {
        return new String(delivery.getBody(), StandardCharsets.UTF_8);
    }

    private static void check(boolean condition, String text) {
        if (!condition) {
            throw new AssertionError(text);
        }
    }

    private static <T> T take(BlockingQueue<T> inbox) throws InterruptedException {
        T item = inbox.poll(PATIENCE_S, TimeUnit.SECONDS);
        check(item != null, "nothing came");
        return item;
    }

    private static BlockingQueue<Delivery> consume(Channel channel, String queue, boolean autoAck) throws IOException {
        BlockingQueue<Delivery> inbox = new LinkedBlockingQueue<>();
        channel.basicConsume(queue, autoAck, (tag, delivery) -> inbox.add(delivery), tag -> { });
        return inbox;
    }

    private static void hello(Connection connection) throws Exception {
        Channel sender = connection.createChannel();
        sender.queueDeclare("hello", false, false, false, null);
        sender.basicPublish("", "hello", null, bytes("Hello World!"));
        Channel receiver = connection.createChannel();
        receiver.queueDeclare("hello", false, false, false, null);
        System.out.println("hello: " + text(take(consume(receiver, "hello", true))));
    }

    /** A worker of prefetch 1 that keeps heavy tasks and acknowledges all others. */
    private static Channel worker(Connection connection, String name, BlockingQueue<Task> inbox) throws IOException {
        Channel channel = connection.createChannel();
        channel.basicQos(1);
        channel.basicConsume("task_queue", false, (tag, delivery) -> {
            inbox.add(new Task(name, text(delivery)));
            if (!text(delivery).equals("heavy")) {
                channel.basicAck(delivery.getEnvelope().getDeliveryTag(), false);
            }
        }, tag -> { });
        return channel;
    }

    private static void work(Connection connection) throws Exception {
        Channel boss = connection.createChannel();
        boss.queueDeclare("task_queue", true, false, false, null);
        BlockingQueue<Task> inbox = new LinkedBlockingQueue<>();
        Channel one = worker(connection, "one", inbox);
        Channel two = worker(connection, "two", inbox);
        AtomicInteger ones = new AtomicInteger();
        for (int number = 0; number < 6; number++) {
            boss.basicPublish("", "task_queue", MessageProperties.PERSISTENT_TEXT_PLAIN, bytes("task " + number));
            ones.addAndGet(take(inbox).worker().equals("one") ? 1 : 0);
        }
        boss.basicPublish("", "task_queue", MessageProperties.PERSISTENT_TEXT_PLAIN, bytes("heavy"));
        String busy = take(inbox).worker();
        for (int number = 0; number < 4; number++) {
            boss.basicPublish("", "task_queue", MessageProperties.PERSISTENT_TEXT_PLAIN, bytes("light"));
        }
        for (int number = 0; number < 4; number++) {
            check(!take(inbox).worker().equals(busy), "who is busy got more work");
        }
        System.out.println("work: " + ones.get() + " and " + (6 - ones.get()) + " in turns, heavy stayed alone");
        one.close();
        two.close();
        boss.queuePurge("task_queue");
    }

    /** What a worker did not acknowledge before its connection went goes to another. */
    private static void redelivery(ConnectionFactory factory) throws Exception {
        Connection doomed = factory.newConnection();
        Connection survivor = factory.newConnection();
        Channel boss = survivor.createChannel();
        boss.queueDeclare("precious_queue", true, false, false, null);
        BlockingQueue<Delivery> first = consume(doomed.createChannel(), "precious_queue", false);
        boss.basicPublish("", "precious_queue", MessageProperties.PERSISTENT_TEXT_PLAIN, bytes("precious"));
        check(!take(first).getEnvelope().isRedeliver(), "redelivered at first");
        BlockingQueue<Delivery> second = consume(boss, "precious_queue", false);
        doomed.abort();
        Delivery again = take(second);
        check(again.getEnvelope().isRedeliver(), "not marked as redelivered");
        boss.basicAck(again.getEnvelope().getDeliveryTag(), false);
        System.out.println("redelivered: " + text(again));
        boss.queueDelete("precious_queue");
        survivor.close();
    }

    private static BlockingQueue<Delivery> listen(Connection connection, String exchange, String... keys)
            throws IOException {
        Channel channel = connection.createChannel();
        String queue = channel.queueDeclare().getQueue();
        for (String key : keys) {
            channel.queueBind(queue, exchange, key);
        }
        return consume(channel, queue, true);
    }

    private static void logs(Connection connection) throws Exception {
        Channel channel = connection.createChannel();
        channel.exchangeDeclare("logs", "fanout");
        List<BlockingQueue<Delivery>> inboxes = List.of(listen(connection, "logs", ""), listen(connection, "logs", ""));
        channel.basicPublish("logs", "", null, bytes("info: Hello World!"));
        for (BlockingQueue<Delivery> inbox : inboxes) {
            check(text(take(inbox)).equals("info: Hello World!"), "another line");
        }
        System.out.println("logs: " + inboxes.size() + " heard it");
    }

    private static void routing(Connection connection) throws Exception {
        Channel channel = connection.createChannel();
        channel.exchangeDeclare("direct_logs", "direct");
        BlockingQueue<Delivery> errors = listen(connection, "direct_logs", "error");
        for (String severity : List.of("info", "error")) {
            channel.basicPublish("direct_logs", severity, null, bytes(severity));
        }
        Delivery heard = take(errors);
        check(heard.getEnvelope().getRoutingKey().equals("error"), "another key");
        System.out.println("routing: " + text(heard));
    }

    private static void topics(Connection connection) throws Exception {
        Channel channel = connection.createChannel();
        channel.exchangeDeclare("topic_logs", "topic");
        BlockingQueue<Delivery> inbox = listen(connection, "topic_logs", "kern.*", "*.critical");
        for (String key : List.of("kern.critical", "kern.info", "cron.critical", "cron.info")) {
            channel.basicPublish("topic_logs", key, null, bytes(key));
        }
        List<String> heard = new ArrayList<>();
        for (int number = 0; number < 3; number++) {
            heard.add(text(take(inbox)));
        }
        heard.sort(null);
        System.out.println("topics: " + String.join(" ", heard));
    }

    private static long fib(int n) {
        return n < 2 ? n : fib(n - 1) + fib(n - 2);
    }

    private static void ask(Connection connection, String label, int n, String replyQueue) throws Exception {
        Channel channel = connection.createChannel();
        String replyTo = replyQueue == null ? channel.queueDeclare().getQueue() : replyQueue;
        BlockingQueue<Delivery> answers = consume(channel, replyTo, true);
        BasicProperties properties = new BasicProperties.Builder().correlationId("question-" + n).replyTo(replyTo).build();
        channel.basicPublish("", "rpc_queue", properties, bytes(String.valueOf(n)));
        Delivery answer = take(answers);
        check(answer.getProperties().getCorrelationId().equals("question-" + n), "the answer to another question");
        System.out.println(label + ": fib(" + n + ") = " + text(answer));
    }

    private static void rpc(Connection connection) throws Exception {
        Channel server = connection.createChannel();
        server.queueDeclare("rpc_queue", false, false, false, null);
        server.basicQos(1);
        server.basicConsume("rpc_queue", false, (tag, question) -> {
            BasicProperties properties = new BasicProperties.Builder()
                .correlationId(question.getProperties().getCorrelationId()).build();
            String answer = String.valueOf(fib(Integer.parseInt(text(question))));
            server.basicPublish("", question.getProperties().getReplyTo(), properties, bytes(answer));
            server.basicAck(question.getEnvelope().getDeliveryTag(), false);
        }, tag -> { });
        ask(connection, "rpc", 20, null);
        ask(connection, "direct reply-to", 10, "amq.rabbitmq.reply-to");
    }

    private static void confirms(Connection connection) throws Exception {
        Channel channel = connection.createChannel();
        channel.confirmSelect();
        AtomicInteger returned = new AtomicInteger();
        AtomicInteger refused = new AtomicInteger();
        AtomicInteger early = new AtomicInteger();
        channel.addReturnListener(message -> returned.incrementAndGet());
        channel.addConfirmListener((tag, multiple) -> early.addAndGet(tag >= 100 && returned.get() == 0 ? 1 : 0),
            (tag, multiple) -> refused.incrementAndGet());
        String queue = channel.queueDeclare().getQueue();
        for (int number = 0; number < 99; number++) {
            channel.basicPublish("", queue, MessageProperties.PERSISTENT_BASIC, bytes("x"));
        }
        channel.basicPublish("", "nobody.has.this.queue", true, MessageProperties.BASIC, bytes("lost"));
        channel.waitForConfirmsOrDie(TimeUnit.SECONDS.toMillis(PATIENCE_S));
        check(early.get() == 0, "confirmed before it was returned");
        check(refused.get() == 0, "refused");
        System.out.println("confirmed: " + (channel.getNextPublishSeqNo() - 1) + ", returned: " + returned.get());
    }

    private static int refusal(Connection connection, Refused refused) throws Exception {
        try {
            refused.work(connection.createChannel());
            throw new AssertionError("not refused");
        } catch (IOException error) {
            ShutdownSignalException cause = (ShutdownSignalException) error.getCause();
            return ((com.rabbitmq.client.AMQP.Channel.Close) cause.getReason()).getReplyCode();
        } catch (AlreadyClosedException error) {
            return ((com.rabbitmq.client.AMQP.Channel.Close) error.getReason()).getReplyCode();
        }
    }

    private static void refusals(Connection connection) throws Exception {
        int inequivalent = refusal(connection, channel -> channel.queueDeclare("task_queue", false, false, false, null));
        int missing = refusal(connection, channel -> channel.queueDeclarePassive("nobody.has.this.queue"));
        System.out.println("refused: " + inequivalent + " " + missing);
    }

    public static void main(String[] arguments) throws Exception {
        ConnectionFactory factory = new ConnectionFactory();
        String url = System.getenv("AMQP_URL");
        factory.setUri(url == null ? "amqp://localhost:5672/%2F" : url);
        try (Connection connection = factory.newConnection()) {
            hello(connection);
            work(connection);
            redelivery(factory);
            logs(connection);
            routing(connection);
            topics(connection);
            rpc(connection);
            confirms(connection);
            refusals(connection);
        }
        System.out.println("all done");
    }
}
