-- Returns each field of INFO rl and its value, for the option -script of redis_exporter.
local fields = {}
for name, value in string.gmatch(redis.call('INFO', 'rl'), '(rl_[%l_]+):(%d+)') do
  fields[#fields + 1] = name
  fields[#fields + 1] = value
end
return fields
