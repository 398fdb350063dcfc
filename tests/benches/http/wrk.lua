-- Arguments after the URL: the number of callers, each of which has an address of its own in X-Forwarded-For (0: no
-- such header), and the JSON body of a POST (none: GET). Prints the number of requests, the seconds, the number of
-- answers that did not come, the number of those with a status above 399, and the 50th, 99th and 99.9th percentile of
-- the latency in microseconds.
local requests, last = {}, 0

init = function(args)
  local callers, body = tonumber(args[1]), args[2]
  local method = body and 'POST' or 'GET'
  if body then wrk.headers['Content-Type'] = 'application/json' end
  for caller = 1, math.max(callers, 1) do
    if callers > 0 then
      wrk.headers['X-Forwarded-For'] = string.format('10.1.%d.%d', math.floor(caller / 250), caller % 250)
    end
    requests[caller] = wrk.format(method, nil, wrk.headers, body)
  end
end

request = function()
  last = last % #requests + 1
  return requests[last]
end

done = function(summary, latency)
  local errors = summary.errors
  local failures = errors.connect + errors.read + errors.write + errors.timeout
  print(string.format('figures: %d %f %d %d %d %d %d', summary.requests, summary.duration / 1e6, failures,
    errors.status, latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
