import com.segment.analytics.Analytics;
import com.segment.analytics.Callback;
import com.segment.analytics.messages.Message;
import com.segment.analytics.messages.TrackMessage;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;

/**
 * Segment's SDK for Java as the harness of e2e sees it; node.mjs says how it is spoken to.
 *
 * <p>A batch that fails waits up to half a minute, and its shutdown waits a second only. So this
 * program gives it threads enough for batches to wait beside each other, and waits for its reports.
 */
public class Driver {
  public static void main(String[] args) throws Exception {
    PrintStream out = System.out;
    System.setOut(System.err);
    Set<String> delivered = ConcurrentHashMap.newKeySet();
    Analytics analytics = Analytics.builder(args[1])
        .endpoint(args[0] + "/")
        .flushQueueSize(10)
        .flushInterval(1, TimeUnit.SECONDS)
        .networkExecutor(Executors.newCachedThreadPool(task -> {
          Thread thread = new Thread(task);
          thread.setDaemon(true);
          return thread;
        }))
        .callback(new Callback() {
          @Override
          public void success(Message message) {
            delivered.add(message.messageId());
          }

          @Override
          public void failure(Message message, Throwable why) {
            // said of every attempt that found no server, too: no verdict
          }
        })
        .build();
    int taken = 0;
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
    for (String line; (line = in.readLine()) != null; taken++) {
      String[] words = line.split(" ");
      analytics.enqueue(TrackMessage.builder("Step")
          .userId(words[0])
          .messageId(words[2])
          .properties(Map.of("n", Integer.parseInt(words[1]), "step", words[2])));
      out.println("ok " + words[2]);
    }
    analytics.flush();
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(100);
    while (delivered.size() < taken && System.nanoTime() < end) {
      Thread.sleep(20);
    }
    analytics.shutdown();
    for (String id : delivered) {
      out.println("delivered " + id);
    }
    out.println("closed");
    System.exit(0);
  }
}
