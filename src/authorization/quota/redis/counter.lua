-- What every script begins with: the time, windows of the calendar in UTC, and the two ways to count.
--
-- ARGV[1]: the time in microseconds, or nothing for the server's own.
-- A counter is `c START USED` (the second in which the window of the calendar began, and what was
-- used in it), or `s AT LEVEL` (the microsecond of the last charge, and what was in the bucket).
-- It ends by itself when it says no more than a new one.

local MOST, TOLERANCE, SLACK, LONGEST = 2 ^ 53, 1e-6, 1000, 100 * 365 * 86400000
local floor, ceil, min, max = math.floor, math.ceil, math.min, math.max

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local today = floor(now / 86400000000)

-- The days from 1970-01-01 to the first of a month, and the month of a day (proleptic Gregorian
-- calendar, in eras of 400 years that begin on a first of March).
local function days(year, month)
  if month > 12 then year, month = year + 1, month - 12 end
  if month <= 2 then year = year - 1 end
  local era = floor(year / 400)
  local years = year - era * 400
  local in_year = floor((153 * ((month + 9) % 12) + 2) / 5)
  return era * 146097 + years * 365 + floor(years / 4) - floor(years / 100) + in_year - 719468
end
local function month_of(day)
  local shifted = day + 719468
  local era = floor(shifted / 146097)
  local rest = shifted - era * 146097
  local years = floor((rest - floor(rest / 1460) + floor(rest / 36524) - floor(rest / 146096)) / 365)
  local in_year = rest - (365 * years + floor(years / 4) - floor(years / 100))
  local month = (floor((5 * in_year + 2) / 153) + 2) % 12 + 1
  local year = years + era * 400
  if month <= 2 then year = year + 1 end
  return year, month
end

local LENGTHS = { second = 1, minute = 60, hour = 3600, day = 86400 }

-- The seconds in which a window of the calendar begins and ends.
local function span(window)
  local second = floor(now / 1000000)
  local length = LENGTHS[window]
  if length then
    local start = second - second % length
    return start, start + length
  elseif window == 'week' then
    local start = second - (second + 3 * 86400) % 604800
    return start, start + 604800
  elseif window == 'month' then
    local year, month = month_of(today)
    return days(year, month) * 86400, days(year, month + 1) * 86400
  elseif window == 'year' then
    local year = month_of(today)
    return days(year, 1) * 86400, days(year + 1, 1) * 86400
  end
  return 0, nil
end

-- What `cost` makes of a counter: what is kept then and for how long; what is left, reset, wait, and
-- whether it fits.
local function count(stored, rule, cost)
  local start, last = span(rule.window)
  local used = 0
  if stored and stored[1] == 'c' then
    -- a clock that was set back by less than a window goes on in the window that it has begun
    local begun = stored[2]
    if begun >= start and (not last or begun - start < last - start) then
      if last then last = last + begun - start end
      start, used = begun, stored[3]
    end
  end
  local after = min(used + cost, MOST)
  local reset = last and max(0, last * 1000000 - now) or -1
  local fits = after <= rule.amount
  local wait = 0
  if not fits then wait = cost <= rule.amount and reset or -1 end
  return {
    kept = string.format('c %.0f %.0f', start, after),
    life = last and reset / 1000 + SLACK,
    left = max(0, rule.amount - after), reset = reset, wait = wait, fits = fits,
  }
end

local function slide(stored, rule, cost)
  local amount, level = max(rule.amount, 1), 0
  if stored and stored[1] == 's' then
    -- where the clock was set back, nothing has drained
    level = max(0, stored[3] - max(0, now - stored[2]) * amount / rule.length)
  end
  local function drains(what)
    return min(MOST, ceil(max(0, what) * rule.length / amount))
  end
  local after = level + cost
  local fits = after <= rule.capacity + TOLERANCE
  local wait = 0
  if not fits then
    wait = cost <= rule.capacity and max(1, drains(after - rule.capacity)) or -1
  end
  -- one that only counts stays full
  after = min(after, max(rule.capacity, level))
  local reset = drains(after)
  return {
    kept = string.format('s %.0f %.17g', now, after),
    life = reset / 1000 + SLACK,
    left = max(0, floor(rule.capacity - after + TOLERANCE)), reset = reset, wait = wait, fits = fits,
  }
end

local function step(counter, cost)
  if counter.window == 'slide' then return slide(counter.stored, counter, cost) end
  return count(counter.stored, counter, cost)
end

-- The counter at this place of KEYS, whose window (`slide` for a bucket), amount, how many at once,
-- length of a sliding window in microseconds, cost, and 1 where it refuses begin at that of ARGV.
-- None where something else stands there.
local function counter(at, arg)
  local text, stored = redis.call('GET', KEYS[at]), nil
  if text then
    local kind, first, second = string.match(text, '^([cs]) (%d+) ([%d.e+-]+)$')
    stored = { kind, tonumber(first), tonumber(second) }
    if not stored[3] then return nil end
  end
  return {
    stored = stored, window = ARGV[arg], amount = tonumber(ARGV[arg + 1]),
    capacity = tonumber(ARGV[arg + 2]), length = tonumber(ARGV[arg + 3]),
    cost = tonumber(ARGV[arg + 4]), refuses = ARGV[arg + 5] == '1',
  }
end

-- Whether the clock was set back behind what is kept.
local function is_ahead(one)
  return one.stored and one.stored[1] == 's' and one.stored[2] > now
end

local function keep(at, made)
  if made.life then
    redis.call('SET', KEYS[at], made.kept, 'PX', string.format('%.0f', min(made.life, LONGEST)))
  else
    redis.call('SET', KEYS[at], made.kept)
  end
end

local NO_COUNTER = redis.error_reply('WRONGTYPE what stands there is no counter')

