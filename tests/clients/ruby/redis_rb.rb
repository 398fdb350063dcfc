# Limits by redis-rb. Usage: ruby redis_rb.rb PORTS KEY...; PORTS is 6379, or 7001,7002,7003 for a cluster.
require 'redis'

Decision = Struct.new(:allowed, :limit, :remaining, :retry_after_ms, :reset_after_ms, :delay_ms)

# A call that timed out may have taken its tokens, and a retry takes them again.
once = { timeout: ENV.fetch('DEADLINE_MS', 100).to_i / 1000.0, reconnect_attempts: 0 }
urls = ARGV[0].split(',').map { |port| "redis://127.0.0.1:#{port}" }
CLIENT = urls.size > 1 ? Redis.new(cluster: urls, **once) : Redis.new(url: urls[0], **once)

# Nil if Redis is away: the caller then lets the work pass, or refuses it.
def wait_for_turn(command, key)
  loop do
    # In lower case, as COMMAND lists it: otherwise a cluster's client does not find the key, and asks any node.
    decision = Decision.new(*CLIENT.call(command.downcase, key, '10/s', 20))
    is_allowed = decision.allowed == 1
    sleep((is_allowed ? decision.delay_ms.to_i : decision.retry_after_ms) / 1000.0)
    return decision if is_allowed
  end
rescue Redis::BaseConnectionError
  nil
end

%w[RL.TOKEN RL.LEAKY].each do |command|
  ARGV.drop(1).each do |key|
    decision = wait_for_turn(command, "#{command}:#{key}")
    puts "#{command} #{key} #{decision ? "remaining #{decision.remaining}" : 'Redis is away'}"
  end
end
