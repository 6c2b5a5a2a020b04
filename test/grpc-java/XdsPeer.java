import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientInterceptors;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.InsecureServerCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.ServerServiceDefinition;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.MetadataUtils;
import io.grpc.stub.ServerCalls;
import io.grpc.xds.XdsServerBuilder;
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.TimeUnit;

/**
 * grpc-java as a client of a control plane, and as a server that one manages. It speaks as {@code go/xds-peer} does.
 *
 * <pre>
 * client TARGET        calls the target once for every line `header value` (or an empty one), and says what came as a line of JSON
 * server NAME PORT     answers calls with its name, and says whether it serves
 * </pre>
 */
public final class XdsPeer {
  /** The bytes as they are. */
  private enum Bytes implements MethodDescriptor.Marshaller<byte[]> {
    INSTANCE;

    @Override
    public InputStream stream(byte[] value) {
      return new ByteArrayInputStream(value);
    }

    @Override
    public byte[] parse(InputStream stream) {
      try {
        return stream.readAllBytes();
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
    }
  }

  private static final String SERVICE = "grpc.testing.TestService";
  private static final MethodDescriptor<byte[], byte[]> UNARY_CALL =
      MethodDescriptor.newBuilder(Bytes.INSTANCE, Bytes.INSTANCE)
          .setType(MethodDescriptor.MethodType.UNARY)
          .setFullMethodName(MethodDescriptor.generateFullMethodName(SERVICE, "UnaryCall"))
          .build();
  /** `hostname` of SimpleResponse, all that the answer holds: the tag of field 6, its length, its bytes. */
  private static final int HOSTNAME_TAG = 0x32;

  private XdsPeer() {}

  private static String hostname(byte[] answer) {
    if (answer.length < 2 || answer[0] != HOSTNAME_TAG) {
      return "";
    }
    return new String(answer, 2, answer[1], StandardCharsets.UTF_8);
  }

  private static byte[] answerOf(String name) {
    byte[] text = name.getBytes(StandardCharsets.UTF_8);
    byte[] answer = new byte[text.length + 2];
    answer[0] = HOSTNAME_TAG;
    answer[1] = (byte) text.length;
    System.arraycopy(text, 0, answer, 2, text.length);
    return answer;
  }

  private static String quoted(String text) {
    return '"' + text.replaceAll("[\\p{Cntrl}\"\\\\]", " ") + '"';
  }

  private static void say(String event, String... members) {
    StringBuilder line = new StringBuilder("{\"event\":" + quoted(event));
    for (int i = 0; i < members.length; i += 2) {
      line.append(',').append(quoted(members[i])).append(':').append(quoted(members[i + 1]));
    }
    System.out.println(line.append('}'));
  }

  private static void client(String target) throws IOException {
    ManagedChannel channel = Grpc.newChannelBuilder(target, InsecureChannelCredentials.create()).build();
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      String[] words = line.split(" ", 2);
      Channel called = channel;
      if (words.length == 2) {
        Metadata metadata = new Metadata();
        metadata.put(Metadata.Key.of(words[0], Metadata.ASCII_STRING_MARSHALLER), words[1]);
        called = ClientInterceptors.intercept(channel, MetadataUtils.newAttachHeadersInterceptor(metadata));
      }
      CallOptions options = CallOptions.DEFAULT.withDeadlineAfter(20, TimeUnit.SECONDS);
      try {
        byte[] answer = ClientCalls.blockingUnaryCall(called, UNARY_CALL, options, new byte[0]);
        say("call", "code", "OK", "host", hostname(answer));
      } catch (StatusRuntimeException error) {
        String why = String.valueOf(error.getStatus().getDescription());
        say("call", "code", error.getStatus().getCode().name(), "error", why);
      }
    }
  }

  private static void server(String name, int port) throws Exception {
    ServerServiceDefinition service =
        ServerServiceDefinition.builder(SERVICE)
            .addMethod(
                UNARY_CALL,
                ServerCalls.asyncUnaryCall(
                    (request, answer) -> {
                      answer.onNext(answerOf(name));
                      answer.onCompleted();
                    }))
            .build();
    XdsServerBuilder builder = XdsServerBuilder.forPort(port, InsecureServerCredentials.create());
    builder.xdsServingStatusListener(
        new XdsServerBuilder.XdsServingStatusListener() {
          @Override
          public void onServing() {
            say("mode", "mode", "SERVING");
          }

          @Override
          public void onNotServing(Throwable why) {
            say("mode", "mode", "NOT_SERVING", "error", String.valueOf(why.getMessage()));
          }
        });
    builder.addService(service).build().start().awaitTermination();
  }

  public static void main(String[] args) throws Exception {
    if (args[0].equals("client")) {
      client(args[1]);
    } else {
      server(args[1], Integer.parseInt(args[2]));
    }
    System.exit(0);
  }
}
