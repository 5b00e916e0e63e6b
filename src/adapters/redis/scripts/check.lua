-- Tries a one-time code: it counts once, and wrong tries use it up.
-- KEYS[1]: the code. ARGV[1]: the hash that is tried. ARGV[2]: now, in microseconds.
-- Answers {'right', the sealed number}, {'wrong', tries left} or {'gone', ''}.
local hash, number, expires, tries = unpack(redis.call('HMGET', KEYS[1], 'hash', 'number', 'expires', 'tries'))
if not (hash and number and expires and tries) then
    return {'gone', ''}
end
if tonumber(expires) <= tonumber(ARGV[2]) then
    redis.call('DEL', KEYS[1])
    return {'gone', ''}
end
-- Hashes are keyed: how long this comparison takes tells nothing to whoever cannot make them.
if hash == ARGV[1] then
    redis.call('DEL', KEYS[1])
    return {'right', number}
end
local left = string.format('%.0f', math.max(tonumber(tries) - 1, 0))
if left == '0' then
    redis.call('DEL', KEYS[1])
else
    redis.call('HSET', KEYS[1], 'tries', left)
end
return {'wrong', left}
