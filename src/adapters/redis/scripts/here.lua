-- Writes down whether a node holds sockets of a user, and when the user was last here.
-- KEYS[1]: the user. ARGV[1]: the node. ARGV[2]: 1 or 0. ARGV[3]: when, in microseconds.
-- ARGV[4]: life of the key in milliseconds. ARGV[5]: what the keys of nodes begin with.
if ARGV[2] == '1' then
    -- Nodes that died leave themselves behind.
    for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
        if field ~= 'at' and redis.call('EXISTS', ARGV[5] .. field) == 0 then
            redis.call('HDEL', KEYS[1], field)
        end
    end
    redis.call('HSET', KEYS[1], ARGV[1], 1)
else
    redis.call('HDEL', KEYS[1], ARGV[1])
end
local at = tonumber(redis.call('HGET', KEYS[1], 'at') or 0)
if tonumber(ARGV[3]) > at then
    redis.call('HSET', KEYS[1], 'at', ARGV[3])
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
