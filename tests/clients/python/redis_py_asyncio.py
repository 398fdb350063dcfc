"""Limits by redis-py with asyncio. Usage: redis_py_asyncio.py PORT KEY..."""
import asyncio
import os
import sys
from typing import NamedTuple

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff


class Decision(NamedTuple):
    allowed: int
    limit: int
    remaining: int
    retry_after_ms: int
    reset_after_ms: int
    delay_ms: int = 0


async def wait_for_turn(client: redis.Redis, command: str, key: str) -> Decision | None:
    """None if Redis is away: the caller then lets the work pass, or refuses it."""
    while True:
        try:
            decision = Decision(*await client.execute_command(command, key, "10/s", 20))
        except (redis.ConnectionError, redis.TimeoutError):
            return None
        await asyncio.sleep((decision.delay_ms if decision.allowed else decision.retry_after_ms) / 1000)
        if decision.allowed:
            return decision


async def main(port: int, keys: list[str]) -> None:
    # A call that timed out may have taken its tokens, and a retry takes them again.
    deadline = int(os.environ.get("DEADLINE_MS", 100)) / 1000
    once = {"socket_timeout": deadline, "socket_connect_timeout": deadline, "retry": Retry(NoBackoff(), 0)}
    async with redis.Redis(host="127.0.0.1", port=port, **once) as client:
        for command in ("RL.TOKEN", "RL.LEAKY"):
            for key in keys:
                decision = await wait_for_turn(client, command, f"{command}:{key}")
                print(command, key, f"remaining {decision.remaining}" if decision else "Redis is away")


asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
