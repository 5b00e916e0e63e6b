-- Takes one from an allowance that refills evenly (generic cell rate algorithm).
-- KEYS[1]: holds when the allowance will be whole again, in microseconds.
-- ARGV[1]: how many can be taken at once. ARGV[2]: after how many microseconds one comes back.
-- Answers {1, how many are left} or {0, microseconds until one is free}.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local each = tonumber(ARGV[2])
local window = each * ARGV[1]
local whole = tonumber(redis.call('GET', KEYS[1]) or now)
-- In the past: whole. Further than ever allowed: this server's clock was set back.
whole = math.min(math.max(whole, now), now + window)
local wait = whole + each - window - now
if wait > 0 then
    return {0, wait}
end
whole = whole + each
redis.call('SET', KEYS[1], string.format('%.0f', whole), 'PX', math.ceil((whole - now) / 1000))
return {1, math.floor((now + window - whole) / each)}
