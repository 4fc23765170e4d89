import java.io.IOException;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** What the Java programs share: cases with names, waiting, and the restart of the server. */
final class Foreign {
    static final int WAIT_S = 30;

    interface Case {
        void run() throws Exception;
    }

    private Foreign() {}

    static void run(String name, Case body) {
        try {
            body.run();
            System.out.println("ok " + name);
        } catch (Throwable thrown) {
            StackTraceElement at = null;
            for (StackTraceElement element : thrown.getStackTrace()) {
                if (at == null && !element.getClassName().equals("Foreign")
                        && element.getFileName() != null && element.getFileName().matches("(Api|Recipes).java")) {
                    at = element;
                }
            }
            String where = at == null ? "" : "line " + at.getLineNumber() + ": ";
            System.out.println("FAIL " + name + ": " + where + thrown);
        }
    }

    static void equal(Object expected, Object found) {
        if (!String.valueOf(expected).equals(String.valueOf(found))) {
            throw new AssertionError("expected " + expected + ", found " + found);
        }
    }

    static void holds(boolean fact) {
        if (!fact) {
            throw new AssertionError("does not hold");
        }
    }

    static void await(CountDownLatch latch) throws InterruptedException {
        if (!latch.await(WAIT_S, TimeUnit.SECONDS)) {
            throw new AssertionError("waited in vain");
        }
    }

    static void until(Callable<Boolean> fact) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(WAIT_S);
        while (!fact.call()) {
            if (System.nanoTime() > end) {
                throw new AssertionError("waited in vain");
            }
            Thread.sleep(20);
        }
    }

    /** Has the server ended and started again with its data. */
    static void restartServer() throws IOException {
        System.out.println("restart");
        System.out.flush();
        int answer = System.in.read();
        if (answer != '\n') {
            throw new IOException("no server any more");
        }
    }
}
