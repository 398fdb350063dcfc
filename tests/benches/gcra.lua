-- GCRA on one string that holds the theoretical arrival time, in the same steps as go-redis/redis_rate: TIME, GET, and
-- SET with EX if allowed; waits are returned as text. KEYS[1]: its key. ARGV: burst, tokens per period, period in
-- seconds, cost.
local interval = ARGV[3] / ARGV[2]
local cost = tonumber(ARGV[4])
local time = redis.call('TIME')
local now = (time[1] - 1483228800) + time[2] / 1000000
local arrival = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local next_arrival = arrival + interval * cost
local allowed_at = next_arrival - interval * ARGV[1]
local remaining = (now - allowed_at) / interval
if remaining < 0 then
  return {0, 0, tostring(allowed_at - now), tostring(arrival - now)}
end
local reset = next_arrival - now
redis.call('SET', KEYS[1], next_arrival, 'EX', math.ceil(reset))
return {cost, math.floor(remaining), '-1', tostring(reset)}
