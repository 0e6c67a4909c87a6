import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs Apache Kafka's programs by class name in one virtual machine, since each start of one costs a second or two.
 *
 * <p>{@code Driver serve CONFIG CLUSTER_ID FOLDER} formats the folder if it is new and becomes the broker.
 * {@code Driver} alone reads one JSON object a line from its standard input, {@code {"class": …, "args": […],
 * "input": …}}, runs that class's {@code main} with {@code input} as its standard input, and writes one line
 * {@code {"code": …, "output": …, "errors": …}}. A program's {@code exit} ends the program, not this machine.
 */
public final class Driver {
    private static final ObjectMapper JSON = new ObjectMapper();

    /** What the running program wants done at its end. */
    private static final List<Runnable> LAST = new ArrayList<>();

    /** What the running program exited with first; some catch what ends them and exit again. */
    private static Integer exited;

    /** A program's wish to end. */
    private static final class Ended extends RuntimeException {
        final int code;

        Ended(int code) {
            super(null, null, false, false);
            this.code = code;
        }
    }

    private Driver() {}

    public static void main(String[] args) throws Exception {
        if (args.length > 0 && args[0].equals("serve")) {
            serve(args[1], args[2], Path.of(args[3]));
        } else {
            answer();
        }
    }

    private static void serve(String config, String cluster, Path folder) throws Exception {
        if (!Files.exists(folder.resolve("meta.properties"))) {
            Exit.setExitProcedure((code, message) -> {
                throw new Ended(code);
            });
            try {
                call("kafka.tools.StorageTool", new String[] {"format", "-c", config, "-t", cluster});
            } catch (Ended ended) {
                if (ended.code != 0) {
                    System.exit(ended.code);
                }
            }
            Exit.resetExitProcedure();
        }
        call("kafka.Kafka", new String[] {config});
    }

    private static void answer() throws Exception {
        PrintStream answers = new PrintStream(new FileOutputStream(FileDescriptor.out), false, StandardCharsets.UTF_8);
        BufferedReader orders =
                new BufferedReader(new InputStreamReader(new FileInputStream(FileDescriptor.in), StandardCharsets.UTF_8));
        Exit.setExitProcedure((code, message) -> leave(code));
        Exit.setHaltProcedure((code, message) -> leave(code));
        Exit.setShutdownHookAdder((name, work) -> LAST.add(work));
        for (String line = orders.readLine(); line != null; line = orders.readLine()) {
            answers.println(JSON.writeValueAsString(run(JSON.readTree(line))));
            answers.flush();
        }
        System.exit(0);
    }

    private static void leave(int code) {
        if (exited == null) {
            exited = code;
        }
        throw new Ended(code);
    }

    private static Map<String, Object> run(JsonNode order) throws Exception {
        String[] args = JSON.convertValue(order.get("args"), String[].class);
        ByteArrayOutputStream output = new ByteArrayOutputStream();
        ByteArrayOutputStream errors = new ByteArrayOutputStream();
        System.setOut(new PrintStream(output, true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(errors, true, StandardCharsets.UTF_8));
        System.setIn(new ByteArrayInputStream(order.path("input").asText("").getBytes(StandardCharsets.UTF_8)));
        int code = 0;
        exited = null;
        LAST.clear();
        try {
            try {
                call(order.get("class").asText(), args);
            } finally {
                List.copyOf(LAST).forEach(Runnable::run);
            }
        } catch (Ended ended) {
            code = ended.code;
        } catch (Throwable thrown) {
            thrown.printStackTrace();
            code = 1;
        }
        code = exited == null ? code : exited;
        System.out.flush();
        System.err.flush();
        Map<String, Object> answer = new LinkedHashMap<>();
        answer.put("code", code);
        answer.put("output", output.toString(StandardCharsets.UTF_8));
        answer.put("errors", errors.toString(StandardCharsets.UTF_8));
        return answer;
    }

    private static void call(String name, String[] args) throws Exception {
        try {
            Class.forName(name).getMethod("main", String[].class).invoke(null, (Object) args);
        } catch (InvocationTargetException thrown) {
            Throwable cause = thrown.getCause();
            if (cause instanceof Ended ended) {
                throw ended;
            }
            throw cause instanceof Exception exception ? exception : new IllegalStateException(cause);
        }
    }
}
