-- A token bucket in a hash, as commonly written. KEYS[1]: its key. ARGV: tokens per second, burst, cost.
local rate, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local held = redis.call('HMGET', KEYS[1], 'tokens', 'time')
local tokens = tonumber(held[1]) or burst
local passed = math.max(0, now - (tonumber(held[2]) or now))
tokens = math.min(burst, tokens + passed * rate)
if tokens < cost then
  return {0, burst, math.floor(tokens), math.ceil((cost - tokens) / rate * 1000), math.ceil((burst - tokens) / rate * 1000)}
end
tokens = tokens - cost
local reset_ms = math.ceil((burst - tokens) / rate * 1000)
redis.call('HSET', KEYS[1], 'tokens', tokens, 'time', now)
redis.call('PEXPIRE', KEYS[1], reset_ms)
return {1, burst, math.floor(tokens), 0, reset_ms}
