import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.LongSerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.Suppressed;
import org.apache.kafka.streams.kstream.Suppressed.BufferConfig;

/** Kafka Streams as its documentation shows it: re-key, session windows, suppress until they close. */
public final class Sessions {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Duration GAP = Duration.ofMillis(2_000);

    private static final int PARTITIONS = 12;
    private static final String CLOSING = "/closing/";
    private static final String STEP = "entities";

    private Sessions() {}

    public static void main(String[] arguments) throws Exception {
        Map<String, String> given = new HashMap<>();
        for (int at = 0; at + 1 < arguments.length; at += 2) {
            given.put(arguments[at].substring(2), arguments[at + 1]);
        }
        int passes = Integer.parseInt(given.getOrDefault("passes", "1"));
        for (int pass = 1; pass <= passes; pass++) {
            run(given, pass, pass == passes);
        }
    }

    /** One pass over the topic; all but the last end when as many windows as expected were closed. */
    private static void run(Map<String, String> given, int pass, boolean last) throws Exception {
        String suffix = pass == 1 ? "" : "-" + pass;
        long expected = last ? Long.MAX_VALUE : Long.parseLong(given.get("expected"));
        CountDownLatch done = new CountDownLatch(1);
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, given.get("group") + suffix);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, given.get("servers"));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, given.get("state"));
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, given.getOrDefault("threads", "1"));
        // The default of 30 s is how long results stay in the cache of the store: made for throughput without an end.
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, given.getOrDefault("commit-ms", "500"));
        settings.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        Topology topology = topology(given, given.get("group") + suffix, given.get("output") + suffix, expected, done);
        try (KafkaStreams streams = new KafkaStreams(topology, settings)) {
            streams.start();
            done.await();
        }
    }

    private static Topology topology(
            Map<String, String> given, String application, String output, long expected, CountDownLatch done) {
        long notifications = Long.parseLong(given.get("notifications"));
        Duration grace = Duration.ofMillis(Long.parseLong(given.get("grace-ms")));
        AtomicBoolean begun = new AtomicBoolean();
        AtomicLong counted = new AtomicLong();
        AtomicLong closed = new AtomicLong();
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(given.get("topic"), Consumed.with(Serdes.String(), Serdes.ByteArray()))
            .peek((account, body) -> begin(begun))
            .filter((account, body) -> body != null && body.length > 0)
            .flatMap((account, body) -> notifications(account, body))
            .groupByKey(Grouped.with(STEP, Serdes.String(), Serdes.Long()))
            .windowedBy(SessionWindows.ofInactivityGapAndGrace(GAP, grace))
            .aggregate(
                () -> 0L,
                (key, one, count) -> {
                    if (!key.contains(CLOSING) && counted.incrementAndGet() == notifications) {
                        closeWindows(given, application + "-" + STEP + "-repartition");
                    }
                    return count + one;
                },
                (key, left, right) -> left + right,
                Materialized.with(Serdes.String(), Serdes.Long()))
            .suppress(Suppressed.untilWindowCloses(BufferConfig.unbounded()))
            .toStream()
            .map((window, count) -> KeyValue.pair(
                window.key(), result(window.key(), window.window().start(), window.window().end(), count)))
            .peek((key, value) -> {
                if (!key.contains(CLOSING) && closed.incrementAndGet() == expected) {
                    done.countDown();
                }
            })
            .to(output, Produced.with(Serdes.String(), Serdes.ByteArray()));
        return builder.build();
    }

    /**
     * Moves the event time of the re-keyed topic on. In the raw topic it cannot be done: partitions are read at
     * different speeds, and the first one's last record would make all that is still unread in the others late.
     */
    private static void closeWindows(Map<String, String> given, String topic) {
        Properties settings = new Properties();
        settings.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, given.get("servers"));
        long closingMs = Long.parseLong(given.get("closing-ms"));
        try (Producer<String, Long> producer =
                new KafkaProducer<>(settings, new StringSerializer(), new LongSerializer())) {
            for (int partition = 0; partition < PARTITIONS; partition++) {
                producer.send(new ProducerRecord<>(topic, partition, closingMs, "bench" + CLOSING + "0", 1L));
            }
        }
    }

    private static void begin(AtomicBoolean begun) {
        if (!begun.get() && begun.compareAndSet(false, true)) {
            System.out.println("first " + System.currentTimeMillis());
        }
    }

    private static List<KeyValue<String, Long>> notifications(String account, byte[] body) {
        List<KeyValue<String, Long>> found = new ArrayList<>();
        try {
            for (JsonNode element : JSON.readTree(body).get("data")) {
                JsonNode entity = element.get("entity");
                String key = account + "/" + entity.get("type").asText() + "/" + entity.get("id").asText();
                if (!key.contains(CLOSING)) {
                    found.add(KeyValue.pair(key, 1L));
                }
            }
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
        return found;
    }

    private static byte[] result(String key, long firstMs, long lastMs, long count) {
        String text = "{\"key\":\"" + key + "\",\"first_ms\":" + firstMs + ",\"last_ms\":" + lastMs + ",\"count\":" + count + "}";
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
