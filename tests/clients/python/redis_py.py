"""Limits by redis-py. Usage: redis_py.py PORTS KEY...; PORTS is 6379, or 7001,7002,7003 for a cluster."""
import os
import sys
import time
from typing import NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry


class Decision(NamedTuple):
    allowed: int
    limit: int
    remaining: int
    retry_after_ms: int
    reset_after_ms: int
    delay_ms: int = 0


# A call that timed out may have taken its tokens, and a retry takes them again.
deadline = int(os.environ.get("DEADLINE_MS", 100)) / 1000
once = {"socket_timeout": deadline, "socket_connect_timeout": deadline, "retry": Retry(NoBackoff(), 0)}
ports = sys.argv[1].split(",")
if len(ports) > 1:
    client = RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", port) for port in ports], **once)
else:
    client = redis.Redis(host="127.0.0.1", port=int(ports[0]), **once)


def wait_for_turn(command: str, key: str) -> Decision | None:
    """None if Redis is away: the caller then lets the work pass, or refuses it."""
    while True:
        try:
            decision = Decision(*client.execute_command(command, key, "10/s", 20))
        except (redis.ConnectionError, redis.TimeoutError):
            return None
        time.sleep((decision.delay_ms if decision.allowed else decision.retry_after_ms) / 1000)
        if decision.allowed:
            return decision


for command in ("RL.TOKEN", "RL.LEAKY"):
    for key in sys.argv[2:]:
        decision = wait_for_turn(command, f"{command}:{key}")
        print(command, key, f"remaining {decision.remaining}" if decision else "Redis is away")
