"""Lua scripts of the ledger. All keys they touch are named in KEYS.

Redis can't verify certificates, so callers verify before; the scripts guard order only.
"""

# KEYS: head, bodies, headers. ARGV: height, previous hash, hash, certified block, header, header to drop.
EXTEND = """
local held = redis.call('HMGET', KEYS[1], 'height', 'hash')
if held[1] then
  if tonumber(held[1]) + 1 ~= tonumber(ARGV[1]) or held[2] ~= ARGV[2] then return 0 end
elseif ARGV[1] ~= '1' then
  return 0
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[4])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[5])
redis.call('HDEL', KEYS[3], ARGV[6])
redis.call('HSET', KEYS[1], 'height', ARGV[1], 'hash', ARGV[3])
if not held[1] then redis.call('HSET', KEYS[1], 'published', '0') end
return 1
"""

# KEYS: head, bodies, headers. ARGV: seen height, seen hash ('' for none), published, then per block:
# height, hash, certified block, header.
REPLACE = """
local held = redis.call('HMGET', KEYS[1], 'height', 'hash')
local height = ''
if redis.call('EXISTS', KEYS[1]) == 1 then height = string.format('%d', tonumber(held[1] or '') or 0) end
if height ~= ARGV[1] or (held[2] or '') ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
local hash
for i = 4, #ARGV, 4 do
  height, hash = ARGV[i], ARGV[i + 1]
  redis.call('HSET', KEYS[2], height, ARGV[i + 2])
  redis.call('HSET', KEYS[3], height, ARGV[i + 3])
end
redis.call('HSET', KEYS[1], 'height', height, 'hash', hash, 'published', ARGV[3])
return 1
"""

# KEYS: head, headers. ARGV: height that the head has at least, then per block: height, header.
HEADERS = """
local held = redis.call('HGET', KEYS[1], 'height')
if (tonumber(held or '') or 0) < tonumber(ARGV[1]) then return 0 end
for i = 2, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
return 1
"""

# KEYS: head, bodies. ARGV: published height, then heights whose bodies go.
PUBLISHED = """
local held = redis.call('HGET', KEYS[1], 'published')
if held and tonumber(held) < tonumber(ARGV[1]) then redis.call('HSET', KEYS[1], 'published', ARGV[1]) end
for i = 2, #ARGV do redis.call('HDEL', KEYS[2], ARGV[i]) end
return 1
"""

# KEYS: lease. ARGV: owner, time to live in milliseconds.
LEASE = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

# KEYS: lease. ARGV: owner.
RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""
