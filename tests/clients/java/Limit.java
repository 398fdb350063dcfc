// Limits by Jedis 6. Not run by the tests: it comes from none of the registries that they use.
// Usage: Limit PORTS KEY...; PORTS is 6379, or 7001,7002,7003 for a cluster.

import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import redis.clients.jedis.ConnectionPoolConfig;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.HostAndPort;
import redis.clients.jedis.JedisCluster;
import redis.clients.jedis.JedisPooled;
import redis.clients.jedis.UnifiedJedis;
import redis.clients.jedis.commands.ProtocolCommand;
import redis.clients.jedis.exceptions.JedisClusterOperationException;
import redis.clients.jedis.exceptions.JedisConnectionException;
import redis.clients.jedis.util.SafeEncoder;

public class Limit {
    record Decision(long allowed, long limit, long remaining, long retryAfterMs, long resetAfterMs, long delayMs) {
        static Decision of(List<?> reply) {
            long[] n = reply.stream().mapToLong(number -> (Long) number).toArray();
            return new Decision(n[0], n[1], n[2], n[3], n[4], n.length > 5 ? n[5] : 0);
        }
    }

    static UnifiedJedis connect(String[] ports) {
        Set<HostAndPort> nodes = Stream.of(ports)
            .map(port -> new HostAndPort("127.0.0.1", Integer.parseInt(port))).collect(Collectors.toSet());
        var config = DefaultJedisClientConfig.builder().connectionTimeoutMillis(100).socketTimeoutMillis(100).build();
        // One attempt: a call that timed out may have taken its tokens, and a retry takes them again.
        return ports.length > 1
            ? new JedisCluster(nodes, config, 1, new ConnectionPoolConfig())
            : new JedisPooled(nodes.iterator().next(), config);
    }

    /** Null if Redis is away: the caller then lets the work pass, or refuses it. */
    static Decision waitForTurn(UnifiedJedis client, String command, String key) throws InterruptedException {
        ProtocolCommand name = () -> SafeEncoder.encode(command);
        while (true) {
            Decision decision;
            try {
                // A cluster's client takes the key first, to find its node.
                decision = Decision.of((List<?>) client.sendCommand(key, name, key, "10/s", "20"));
            } catch (JedisConnectionException | JedisClusterOperationException away) {
                return null;
            }
            Thread.sleep(decision.allowed() > 0 ? decision.delayMs() : decision.retryAfterMs());
            if (decision.allowed() > 0) {
                return decision;
            }
        }
    }

    public static void main(String[] arguments) throws InterruptedException {
        try (UnifiedJedis client = connect(arguments[0].split(","))) {
            for (String command : List.of("RL.TOKEN", "RL.LEAKY")) {
                for (String key : List.of(arguments).subList(1, arguments.length)) {
                    Decision decision = waitForTurn(client, command, command + ":" + key);
                    String result = decision == null ? "Redis is away" : "remaining " + decision.remaining();
                    System.out.println(command + " " + key + " " + result);
                }
            }
        }
    }
}
