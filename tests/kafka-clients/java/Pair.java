import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * {@code Pair BOOTSTRAP TOPIC GROUP COUNT ASSIGNOR INSTANCE}: two consumers of one group share a topic, each on a thread
 * of its own as KafkaConsumer asks for, until COUNT records came and each has partitions, or half a minute is over.
 *
 * <p>ASSIGNOR is a class name of {@code org.apache.kafka.clients.consumer}; INSTANCE, if it is not empty, makes the
 * members static under that prefix. The second starts when the first has partitions. Prints who got what last, who
 * read how much, and how many records came.
 */
public final class Pair {
    private Pair() {}

    public static void main(String[] args) throws Exception {
        int wanted = Integer.parseInt(args[3]);
        AtomicInteger seen = new AtomicInteger();
        AtomicBoolean stop = new AtomicBoolean();
        Map<String, TreeSet<Integer>> held = new ConcurrentHashMap<>();
        Map<String, AtomicInteger> read = new ConcurrentHashMap<>();
        List<String> faults = new ArrayList<>();
        List<Thread> threads = new ArrayList<>();
        long deadline = System.nanoTime() + Duration.ofSeconds(30).toNanos();
        for (String name : List.of("first", "second")) {
            read.put(name, new AtomicInteger());
            held.put(name, new TreeSet<>());
            Thread thread = new Thread(() -> {
                try {
                    consume(args, name, held.get(name), read.get(name), seen, stop);
                } catch (Exception fault) {
                    synchronized (faults) {
                        faults.add(name + " " + fault);
                    }
                }
            });
            threads.add(thread);
            thread.start();
            while (size(held.get(name)) == 0 && System.nanoTime() < deadline && thread.isAlive()) {
                Thread.sleep(10);
            }
        }
        while ((seen.get() < wanted || held.values().stream().anyMatch(parts -> size(parts) == 0))
                && System.nanoTime() < deadline && faults.isEmpty()) {
            Thread.sleep(10);
        }
        Map<String, String> shares = new ConcurrentHashMap<>();
        held.forEach((name, partitions) -> {
            synchronized (partitions) {
                shares.put(name, partitions.toString());
            }
        });
        stop.set(true);
        for (Thread thread : threads) {
            thread.join(20_000);
        }
        for (String name : List.of("first", "second")) {
            System.out.println(name + " held " + shares.get(name) + " read " + read.get(name));
        }
        faults.forEach(fault -> System.out.println("fault " + fault));
        System.out.println("records " + seen);
    }

    private static int size(TreeSet<Integer> partitions) {
        synchronized (partitions) {
            return partitions.size();
        }
    }

    private static void consume(String[] args, String name, TreeSet<Integer> held, AtomicInteger read,
            AtomicInteger seen, AtomicBoolean stop) {
        Map<String, Object> settings = new ConcurrentHashMap<>(Map.of(
                "bootstrap.servers", args[0], "group.id", args[2], "auto.offset.reset", "earliest",
                "partition.assignment.strategy", "org.apache.kafka.clients.consumer." + args[4],
                "client.id", name, "heartbeat.interval.ms", 200,
                "key.deserializer", StringDeserializer.class, "value.deserializer", StringDeserializer.class));
        if (!args[5].isEmpty()) {
            settings.put("group.instance.id", args[5] + name);
        }
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(settings)) {
            consumer.subscribe(List.of(args[1]), new ConsumerRebalanceListener() {
                @Override
                public void onPartitionsRevoked(java.util.Collection<TopicPartition> partitions) {
                    synchronized (held) {
                        partitions.forEach(partition -> held.remove(partition.partition()));
                    }
                }

                @Override
                public void onPartitionsAssigned(java.util.Collection<TopicPartition> partitions) {
                    synchronized (held) {
                        partitions.forEach(partition -> held.add(partition.partition()));
                    }
                }
            });
            while (!stop.get()) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(100))) {
                    read.incrementAndGet();
                    seen.incrementAndGet();
                }
            }
            consumer.commitSync();
        }
    }
}
