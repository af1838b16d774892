import com.segment.analytics.Analytics;
import com.segment.analytics.Callback;
import com.segment.analytics.messages.AliasMessage;
import com.segment.analytics.messages.GroupMessage;
import com.segment.analytics.messages.IdentifyMessage;
import com.segment.analytics.messages.Message;
import com.segment.analytics.messages.PageMessage;
import com.segment.analytics.messages.TrackMessage;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.util.HashSet;
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
    Set<String> steps = new HashSet<>();
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
    for (String line; (line = in.readLine()) != null; ) {
      String[] words = line.split(" ");
      if (words[1].equals("-1")) {
        others(analytics, words[0]);
        taken += 4;
        out.println("ok " + words[2]);
        continue;
      }
      taken++;
      steps.add(words[2]);
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
      if (steps.contains(id)) {
        out.println("delivered " + id);
      }
    }
    out.println("closed");
    System.exit(0);
  }

  /** One of each call but track, with what the tables are to show. */
  private static void others(Analytics analytics, String user) {
    analytics.enqueue(IdentifyMessage.builder().userId(user).traits(Map.of("planName", "pro")));
    analytics.enqueue(GroupMessage.builder("g1").userId(user).traits(Map.of("seatCount", 5)));
    analytics.enqueue(PageMessage.builder("Home").userId(user).properties(Map.of("pageKind", "shop")));
    analytics.enqueue(AliasMessage.builder(user).userId(user + "-new"));
  }
}
