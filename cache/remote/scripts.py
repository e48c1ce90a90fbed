"""Atomic steps on the server: small Lua scripts, sent by digest.

While a factory runs somewhere in the fleet, its key holds a lease: a hash with the owner's token. A
hash is not a string, so GET, MGET and `SCAN … TYPE string` do not see it, SET overwrites it and
UNLINK removes it. From that the owner learns that its value must not be stored. Each script treats
a key that is not a string as absent. A script has one key, or keys of one kind, so a cluster can
run it.
"""

import hashlib


class Script:
    """A script, its digest on the server, and the types of its answers."""

    def __init__(self, text: str, *answer: type) -> None:
        self.text = text.encode()
        self.answer = answer
        self.digest = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()


_PUT = """
local function put(key, value, ms)
    if ms == '' then redis.call('SET', key, value)
    else redis.call('SET', key, value, 'PX', ms) end
end
"""
_LIVE = """
local function live(key) return redis.call('TYPE', key).ok == 'string' end
"""
_OWNED = """
local function owned(key, token)
    return redis.call('TYPE', key).ok == 'hash' and redis.call('HGET', key, 'lease') == token
end
"""

# value, ms; '1' if a live entry is required, '0' if none may be there → 1 if stored
PUT_IF = Script(
    _PUT
    + _LIVE
    + """
if live(KEYS[1]) ~= (ARGV[3] == '1') then return 0 end
put(KEYS[1], ARGV[1], ARGV[2])
return 1
""",
    int,
)

# value and ms of each key
PUT_ALL = Script(
    _PUT
    + """
for at, key in ipairs(KEYS) do put(key, ARGV[2 * at - 1], ARGV[2 * at]) end
""",
    type(None),
)

# → the value, or nil; the key is free afterwards
POP = Script(
    _LIVE
    + """
local value = live(KEYS[1]) and redis.call('GET', KEYS[1])
redis.call('UNLINK', KEYS[1])
return value
""",
    bytes,
    type(None),
)

# → how many live entries were removed
REMOVE = Script(
    _LIVE
    + """
local removed = 0
for _, key in ipairs(KEYS) do
    if live(key) then removed = removed + 1 end
    redis.call('UNLINK', key)
end
return removed
""",
    int,
)

# → remaining ms; -1: for ever; -2: no live entry
TTL = Script(
    _LIVE
    + """
return live(KEYS[1]) and redis.call('PTTL', KEYS[1]) or -2
""",
    int,
)

# ms → 1 if there was a live entry
TOUCH = Script(
    _LIVE
    + """
if not live(KEYS[1]) then return 0 end
if ARGV[1] == '' then redis.call('PERSIST', KEYS[1])
else redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return 1
""",
    int,
)

# amount as text; '1' for an int; what an absent key becomes; its ms; '1' where it may be created
# → {0} no entry, {1, the sum's text} added, {2, what is there} for the caller to add or to refuse
#
# Ints are INCRBY's. Floats are added here, not by INCRBYFLOAT, whose long doubles give other sums
# and which writes 3.0 as 3; Lua's numbers are the floats of Python. It leaves to the caller what
# Lua cannot add as Python does: ints that a float does not hold, and what is not finite.
INCREMENT = Script(
    _PUT
    + _LIVE
    + """
if not live(KEYS[1]) then
    if ARGV[5] == '0' then return {0} end
    put(KEYS[1], ARGV[3], ARGV[4])
    return {1, ARGV[3]}
end
local present = redis.call('GET', KEYS[1])
local is_int = string.find(present, '^-?%d+$')
if is_int and ARGV[2] == '1' then
    if type(redis.pcall('INCRBY', KEYS[1], ARGV[1])) ~= 'number' then return {2, present} end
    return {1, redis.call('GET', KEYS[1])}
end
local function float(text)
    if string.find(text, '^-?%d+$') and #text > 15 then return nil end
    return string.find(text, '^-?%d[%d.e+-]*$') and tonumber(text)
end
local first, second = float(present), float(ARGV[1])
if not (first and second) then return {2, present} end
local sum = first + second
if sum - sum ~= 0 then return {2, present} end
local text
for digits = 15, 17 do
    text = string.format('%.' .. digits .. 'g', sum)
    if tonumber(text) == sum then break end
end
if not string.find(text, '[.e]') then text = text .. '.0' end
redis.call('SET', KEYS[1], text, 'KEEPTTL')
return {1, text}
""",
    list,
)

# former value, new value → 1 if the former value was still there; the deadline stays
EXCHANGE = Script(
    _LIVE
    + """
if not live(KEYS[1]) or redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1
""",
    int,
)

# → value and remaining ms (-1: for ever) of each key; nil and -2 if it is not live
ROWS = Script(
    _LIVE
    + """
local rows = {}
for _, key in ipairs(KEYS) do
    local value = live(key) and redis.call('GET', key)
    rows[#rows + 1] = value
    rows[#rows + 1] = value and redis.call('PTTL', key) or -2
end
return rows
""",
    list,
)

# token, ms; perhaps a value to take for absent → {0} yours, {1, value} there, {2, ms} another's
#
# It may be the token's already: the script is sent again where its first answer was lost.
LEASE = Script(
    _LIVE
    + """
if live(KEYS[1]) then
    local value = redis.call('GET', KEYS[1])
    if value ~= ARGV[3] then return {1, value} end
    redis.call('UNLINK', KEYS[1])
elseif redis.call('TYPE', KEYS[1]).ok == 'hash' then
    local left, holder = redis.call('PTTL', KEYS[1]), redis.call('HGET', KEYS[1], 'lease')
    if left > 0 and holder and holder ~= ARGV[1] then return {2, left} end
end
redis.call('UNLINK', KEYS[1])
redis.call('HSET', KEYS[1], 'lease', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {0}
""",
    list,
)

# token, ms → 1 if the token still holds the lease
RENEW = Script(
    _OWNED
    + """
return owned(KEYS[1], ARGV[1]) and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0
""",
    int,
)

# token, value, ms → 1 if stored; waiters are notified on the channel of the key's name
LAND = Script(
    _PUT
    + _OWNED
    + """
if not owned(KEYS[1], ARGV[1]) then return 0 end
put(KEYS[1], ARGV[2], ARGV[3])
redis.call('PUBLISH', KEYS[1], '')
return 1
""",
    int,
)

# token → 1 if the lease was released
FREE = Script(
    _OWNED
    + """
if not owned(KEYS[1], ARGV[1]) then return 0 end
redis.call('UNLINK', KEYS[1])
redis.call('PUBLISH', KEYS[1], '')
return 1
""",
    int,
)
