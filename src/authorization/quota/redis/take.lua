-- Takes a share of a counter ahead, for one replica to spend.
--
-- KEYS: the counter. ARGV: the time; what `counter` reads of it; how much is wanted beside the cost.
-- Where it refuses, a share is a tenth of what is left at most, so that the last of it is not in
-- one hand.
--
-- Answer: what was taken, 0 for nothing; the second in which the window of the calendar began, -1
-- for a bucket; then as the answer of a charge.

local it = counter(1, 2)
if not it then return NO_COUNTER end
local free = step(it, 0)
local taken = max(it.cost, tonumber(ARGV[8]))
if it.refuses then
  taken = max(it.cost, min(taken, floor(free.left / 10)))
end
local made = step(it, taken)
local start = -1
if it.window ~= 'slide' then
  start = tonumber(string.match(made.kept, '^c (%d+)'))
end
if it.refuses and not made.fits then
  -- it drains from now on, although nothing was taken
  if is_ahead(it) then keep(1, free) end
  return { 0, start, free.left, free.reset, step(it, it.cost).wait }
end
keep(1, made)
return { taken, start, made.left, made.reset, made.wait }
