-- Batches for wrk: the body of a template file with an id of its own in the place of each mark, so that no message
-- comes twice, and a number that goes round in the place of each other mark. Arguments: the template, a prefix of ids, milliseconds between two requests of a thread (0: none).
local ffi = require("ffi")
ffi.cdef [[
typedef struct { long seconds; long micros; } cdp_now;
int gettimeofday(cdp_now *now, void *zone);
]]

local MARK, USER_MARK, USERS = "@@", "%^%^", 100
local threads = 0
local now = ffi.new("cdp_now")

local function now_ms()
  ffi.C.gettimeofday(now, nil)
  return tonumber(now.seconds) * 1000 + tonumber(now.micros) / 1000
end

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  local template = file:read("*a")
  file:close()
  pieces, start = {}, 1
  while true do
    local from, to = template:find(MARK, start, true)
    table.insert(pieces, template:sub(start, (from or 0) - 1))
    if not from then break end
    start = to + 1
  end
  prefix, between = arguments[2], tonumber(arguments[3])
  count, due = 0, now_ms()
end

function request()
  count = count + 1
  local body = table.concat(pieces, prefix .. "-" .. number .. "-" .. count)
  return wrk.format("POST", "/v1/batch", {}, (body:gsub(USER_MARK, count % USERS)))
end

function delay()
  if between == 0 then return 0 end
  due = due + between
  return math.max(0, due - now_ms())
end
