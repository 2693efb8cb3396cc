-- Gives back what is left of a share, where the window that it was taken in holds still.
--
-- KEYS: the counter. ARGV: the second in which that window began; how much.

local text = redis.call('GET', KEYS[1])
local start, used = string.match(text or '', '^c (%d+) (%d+)$')
if start and tonumber(start) == tonumber(ARGV[1]) then
  used = math.max(0, tonumber(used) - tonumber(ARGV[2]))
  redis.call('SET', KEYS[1], string.format('c %s %.0f', start, used), 'KEEPTTL')
end
return 1
