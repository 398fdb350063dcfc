-- Prints requests, seconds, failures, and the 50th, 99th and 99.9th percentile of the latency in microseconds.
done = function(summary, latency)
  local errors = summary.errors
  local failures = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  print(string.format('figures: %d %f %d %d %d %d', summary.requests, summary.duration / 1e6, failures,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
