-- The quota of one account: a token bucket that learns, shared out by weight.
-- KEYS[1] is a hash; times are microseconds of this server's clock, rates are
-- calls a microsecond. It returns how many microseconds to wait, 0 for none.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local key, verb = KEYS[1], ARGV[1]
local q = {}
local flat = redis.call('HGETALL', key)
for i = 1, #flat, 2 do q[flat[i]] = tonumber(flat[i + 1]) end
local function get(name, otherwise) return q[name] or otherwise or 0 end
local changed = {}
local function set(name, value)
  q[name] = value
  changed[name] = value
end
local function save()
  local args = {}
  for name, value in pairs(changed) do
    args[#args + 1] = name
    args[#args + 1] = string.format('%.17g', value)
  end
  if #args > 0 then redis.call('HSET', key, unpack(args)) end
  redis.call('PEXPIRE', key, 86400000)
end

local function ceiling()
  local declared, told = get('declared'), get('told')
  if declared == 0 or (told > 0 and told < declared) then return told end
  return declared
end

local function take(name, weight, percent)
  if weight <= 0 then weight = 10 end
  if percent <= 0 or percent > 100 then percent = 100 end
  if get('blocked') > now then return get('blocked') - now end
  local limit, remaining = get('limit'), get('remaining', -1)
  if remaining >= 0 and limit > 0 and now < get('reset_at') and remaining <= math.floor(limit * (100 - percent) / 100) then
    return get('reset_at') - now -- the rest is for others
  end
  local rate = get('rate')
  if rate > 0 then
    local tokens = math.min(get('burst', 1), get('tokens') + rate * math.max(0, now - get('filled_at', now)))
    set('tokens', tokens)
    set('filled_at', math.max(now, get('filled_at', now)))
    local pass, till = 'p:' .. name, 'u:' .. name
    if get(till) < now then set(pass, math.max(get(pass), get('virtual'))) end
    local share = percent / 100
    local own = 1
    if share < 1 then
      local most = math.max(get('burst', 1) * share, 1)
      own = math.min(most, get('t:' .. name, most) + rate * share * (now - get('f:' .. name, now)))
      set('t:' .. name, own)
      set('f:' .. name, now)
      if own < 1 then return math.max(1000, (1 - own) / (rate * share)) end
    end
    local wait = 0
    if tokens < 1 then
      wait = math.max(1000, (1 - tokens) / rate)
    else
      for field, value in pairs(q) do
        if string.sub(field, 1, 2) == 'u:' and field ~= till and value >= now and get('p:' .. string.sub(field, 3)) < get(pass) then
          wait = math.max(1000, 1 / rate)
        end
      end
    end
    if wait > 0 then
      set(till, now + wait + 20000)
      return wait
    end
    set('tokens', tokens - 1)
    if share < 1 then set('t:' .. name, own - 1) end
    set('virtual', get(pass))
    set(pass, get(pass) + 1 / weight)
  end
  if now - get('counted_from') >= 1000000 then
    set('counted_from', now)
    set('counted', 0)
  end
  set('counted', get('counted') + 1)
  if remaining > 0 then set('remaining', remaining - 1) end
  return 0
end

local wait = 0
if verb == 'take' then
  wait = take(ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]))
elseif verb == 'declare' then
  local calls, per = tonumber(ARGV[2]), tonumber(ARGV[3])
  local burst = math.max(1, math.floor(calls / 10))
  local rate = math.max(calls - burst, 1) / per
  if get('declared') == 0 or rate < get('declared') then
    set('declared', rate)
    set('burst', burst)
    if get('rate') == 0 or get('rate') > rate then set('rate', rate) end
    set('tokens', burst)
    set('filled_at', now)
  end
elseif verb == 'throttle' then
  local fresh = now >= get('blocked')
  local till = now + math.max(tonumber(ARGV[2]), 100000)
  if till > get('blocked') then set('blocked', till) end
  if fresh then
    local from = get('rate')
    if from == 0 then
      from = math.max(get('counted'), 1) / math.max(now - get('counted_from', now), 100000)
      set('burst', 1)
      set('tokens', 0)
    end
    set('rate', math.max(from * 0.7, 0.1 / 1000000))
    set('filled_at', get('blocked'))
    set('tokens', math.min(get('tokens'), 1))
  end
elseif verb == 'answers' then
  local rate, most = get('rate'), ceiling()
  if rate > 0 and (most == 0 or rate < most) then
    rate = rate * 1.1
    if most > 0 then rate = math.min(rate, most) elseif rate > 0.01 then rate = 0 end
    set('rate', rate)
  end
elseif verb == 'allow' then
  local limit, remaining, reset, window = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
  if reset <= 0 then reset = window end
  set('limit', limit)
  if limit > 0 then set('remaining', remaining) else set('remaining', -1) end
  set('reset_at', now + reset)
  if limit > 0 and window > 0 then
    local told = 0.9 * limit / window
    set('told', told)
    if get('rate') == 0 or get('rate') > told then
      if get('rate') == 0 then
        set('burst', math.max(1, limit / 10))
        set('tokens', get('burst'))
        set('filled_at', now)
      end
      set('rate', told)
    end
  end
end
save()
return math.ceil(wait)
