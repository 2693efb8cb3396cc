-- Charges all counters, or none; or reads them.
--
-- KEYS: one for each counter. Then, where the request has an id, what remembers that it was charged.
-- ARGV: the time; `charge` or `read`; how long a charge is remembered, in milliseconds. Then what
-- `counter` reads of each.
--
-- Answer: the place of the counter that refuses, 0 for none; then for each counter what is left, in
-- how many microseconds all of it is there again, and in how many what was asked for is; -1: never.

local charging = ARGV[2] == 'charge'
local counters = {}
for at = 1, (#ARGV - 3) / 6 do
  counters[at] = counter(at, 4 + (at - 1) * 6)
  if not counters[at] then return NO_COUNTER end
end

local memory = charging and KEYS[#counters + 1]
local again = memory and redis.call('EXISTS', memory) == 1

local steps, refused, longest = {}, 0, -1
for at, one in ipairs(counters) do
  local made = step(one, again and 0 or one.cost)
  steps[at] = made
  -- of several, the one that has to be waited for longest
  local wait = made.wait < 0 and math.huge or made.wait
  if charging and not again and one.refuses and not made.fits and wait >= longest then
    refused, longest = at, wait
  end
end

local answer = { refused }
for at, one in ipairs(counters) do
  local made = steps[at]
  if charging and refused == 0 then
    if not again then keep(at, made) end
  else
    local wait = made.wait
    made = step(one, 0)
    made.wait = wait
    -- it drains from now on, although nothing was charged
    if charging and is_ahead(one) then keep(at, made) end
  end
  answer[#answer + 1] = made.left
  answer[#answer + 1] = made.reset
  answer[#answer + 1] = made.wait
end
if memory and not again and refused == 0 then
  redis.call('SET', memory, '1', 'PX', ARGV[3])
end
return answer
