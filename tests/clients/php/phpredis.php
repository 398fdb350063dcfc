<?php
// Limits by phpredis. Usage: php phpredis.php PORTS KEY...; PORTS is 6379, or 7001,7002,7003 for a cluster.
final class Decision
{
    public function __construct(
        public readonly int $allowed,
        public readonly int $limit,
        public readonly int $remaining,
        public readonly int $retryAfterMs,
        public readonly int $resetAfterMs,
        public readonly int $delayMs = 0,
    ) {
    }
}

function connect(array $ports): Redis|RedisCluster
{
    $deadline = (getenv('DEADLINE_MS') ?: 100) / 1000;
    if (count($ports) > 1) {
        return new RedisCluster(null, array_map(fn ($port) => "127.0.0.1:$port", $ports), $deadline, $deadline);
    }
    $client = new Redis();
    $client->connect('127.0.0.1', (int) $ports[0], $deadline, null, 0, $deadline);
    // A call that timed out may have taken its tokens, and a retry takes them again.
    $client->setOption(Redis::OPT_MAX_RETRIES, 0);
    return $client;
}

/** Null if Redis is away: the caller then lets the work pass, or refuses it. */
function waitForTurn(array $ports, string $command, string $key): ?Decision
{
    static $client = null;
    while (true) {
        try {
            $client ??= connect($ports);
            // A cluster's client takes the key first, to find its node.
            $words = [$command, $key, '10/s', '20'];
            $reply = $client->rawCommand(...($client instanceof RedisCluster ? [$key, ...$words] : $words));
        } catch (RedisException | RedisClusterException) {
            $client = null;
            return null;
        }
        $decision = new Decision(...($reply ?: throw new RuntimeException($client->getLastError())));
        usleep(1000 * ($decision->allowed ? $decision->delayMs : $decision->retryAfterMs));
        if ($decision->allowed) {
            return $decision;
        }
    }
}

foreach (['RL.TOKEN', 'RL.LEAKY'] as $command) {
    foreach (array_slice($argv, 2) as $key) {
        $decision = waitForTurn(explode(',', $argv[1]), $command, "$command:$key");
        echo "$command $key ", $decision ? "remaining $decision->remaining" : 'Redis is away', "\n";
    }
}
