"""The ledger's atomic transitions, as Lua that Redis and Valkey run without interruption.

Loaded by `actions.ledger`. Every script answers with a list whose first element says what happened. Times are the
server's, in milliseconds; nanoseconds of callers are kept as text, for Lua's numbers cannot hold them.
"""

from __future__ import annotations

_NOW = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
"""

# Every change to a running action starts here: only the holder of the newest fence may write.
# KEYS: action, lock. ARGV: fence, lease (ms).
_MINE = (
    _NOW
    + """
local state = redis.call('HGET', KEYS[1], 'state')
if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] then return {'lost'} end
local running = state == 'running'
-- Whoever keeps the lease keeps the target.
local function extend()
  redis.call('HSET', KEYS[1], 'lease_until', now + ARGV[2])
  local field = redis.call('HGET', KEYS[1], 'locked')
  local held = field and redis.call('HGET', KEYS[2], field)
  if not held then return end
  local lock = cjson.decode(held)
  if lock['fence'] ~= ARGV[1] then return end
  lock['until'] = now + lock['hold']
  redis.call('HSET', KEYS[2], field, cjson.encode(lock))
  if redis.call('PTTL', KEYS[2]) < lock['hold'] then redis.call('PEXPIRE', KEYS[2], lock['hold']) end
end
"""
)

# Locks of one scope are a hash: instance, or * for the service as a whole -> who, until when.
_CONFLICT = """
local function conflict(lock, wanted, action)
  local found = redis.call('HGETALL', lock)
  for index = 1, #found, 2 do
    local held = cjson.decode(found[index + 1])
    if held['until'] <= now then
      redis.call('HDEL', lock, found[index])
    elseif held['action'] ~= action and (wanted == '*' or found[index] == '*' or found[index] == wanted) then
      return found[index + 1], held['until'] - now
    end
  end
end
"""

# A record nobody finishes is forgotten in the end; 90 days, see RETENTION_SECONDS.
_KEEP = "redis.call('PEXPIRE', KEYS[1], 90 * 24 * 3600 * 1000)"

SCRIPTS = {
    # KEYS: action, fence counter. ARGV: lease (ms), holder, decision, about.
    "claim": _NOW
    + f"""
local record = redis.call('HMGET', KEYS[1], 'state', 'decision', 'outcome', 'published', 'holder', 'lease_until')
local state = record[1]
if state and state ~= 'pending' and state ~= 'running' then
  if state ~= 'skipped' or record[2] == ARGV[3] then return {{'final', record[3], record[4] or '0'}} end
  redis.call('DEL', KEYS[1])
end
if state == 'running' and tonumber(record[6]) > now then
  return {{'held', record[5], record[6] - now}}
end
local fence = redis.call('INCR', KEYS[2])
redis.call('HSET', KEYS[1], 'state', 'running', 'fence', fence, 'holder', ARGV[2],
  'lease_until', now + ARGV[1], 'decision', ARGV[3], 'about', ARGV[4])
redis.call('HINCRBY', KEYS[1], 'claims', 1)
{_KEEP}
local kept = redis.call('HMGET', KEYS[1], 'before', 'applying_unix_nano', 'applied_unix_nano', 'reverting')
return {{'claimed', fence, kept[1] or '', kept[2] or '', kept[3] or '', kept[4] or ''}}
""",
    # ARGV: ..., instance or *, time to hold (ms), action id, who (JSON).
    "lock": _MINE
    + _CONFLICT
    + """
if not running then return {'lost'} end
local held, left = conflict(KEYS[2], ARGV[3], ARGV[5])
if held then return {'blocked', held, left} end
local lock = cjson.decode(ARGV[6])
lock['until'] = now + ARGV[4]
lock['hold'] = tonumber(ARGV[4])
lock['fence'] = ARGV[1]
lock['holder'] = redis.call('HGET', KEYS[1], 'holder')
redis.call('HSET', KEYS[2], ARGV[3], cjson.encode(lock))
if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[4]) then redis.call('PEXPIRE', KEYS[2], ARGV[4]) end
redis.call('HSET', KEYS[1], 'locked', ARGV[3])
extend()
return {'ok', redis.call('HLEN', KEYS[2]) - 1}
""",
    # ARGV: ..., field, value, field, value, ...
    "record": _MINE
    + f"""
if not running then return {{'lost'}} end
for index = 3, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[index], ARGV[index + 1]) end
extend()
{_KEEP}
return {{'ok'}}
""",
    # ARGV: ..., state, outcome, retention (ms), action id. Again with the same outcome is no error: an answer was lost.
    "finish": _MINE
    + """
if not running and redis.call('HGET', KEYS[1], 'outcome') ~= ARGV[4] then return {'lost'} end
redis.call('HSET', KEYS[1], 'state', ARGV[3], 'outcome', ARGV[4])
redis.call('HDEL', KEYS[1], 'lease_until')
redis.call('PEXPIRE', KEYS[1], ARGV[5])
local found = redis.call('HGETALL', KEYS[2])
for index = 1, #found, 2 do
  if cjson.decode(found[index + 1])['action'] == ARGV[6] then redis.call('HDEL', KEYS[2], found[index]) end
end
return {'ok'}
""",
    # ARGV: ..., action id.
    "release": _MINE
    + """
if not running then return {'lost'} end
redis.call('HSET', KEYS[1], 'lease_until', 0)
if redis.call('HEXISTS', KEYS[1], 'applying_unix_nano') == 1 then return {'ok'} end
redis.call('HSET', KEYS[1], 'state', 'pending')
local found = redis.call('HGETALL', KEYS[2])
for index = 1, #found, 2 do
  if cjson.decode(found[index + 1])['action'] == ARGV[3] then redis.call('HDEL', KEYS[2], found[index]) end
end
return {'ok'}
""",
    # KEYS: action. ARGV: outcome id. A skipped action may have been claimed anew since: then it is another outcome.
    "published": """
local outcome = redis.call('HGET', KEYS[1], 'outcome')
if outcome and cjson.decode(outcome)['id'] == ARGV[1] then redis.call('HSET', KEYS[1], 'published', '1') end
return {'ok'}
""",
    # KEYS: lock. ARGV: instance or *, action that asks. Also counts what else of the service is held.
    "locked_by": _NOW
    + _CONFLICT
    + """
local held, left = conflict(KEYS[1], ARGV[1], ARGV[2])
if held then return {'blocked', held, left} end
local others = 0
for _, lock in ipairs(redis.call('HVALS', KEYS[1])) do
  if cjson.decode(lock)['action'] ~= ARGV[2] then others = others + 1 end
end
return {'ok', others}
""",
}
