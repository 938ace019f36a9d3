-- Sends the requests of a file in their order, over and over; with a rate, at random moments that come to that rate.
-- In the file each stands whole, as it goes over the wire, behind a line that says how many bytes it has.
local ffi = require("ffi")
ffi.cdef("typedef struct { long seconds; long nanoseconds; } moment; int clock_gettime(int clock, moment *now);")
local MONOTONIC = 1
local clock = ffi.new("moment")
local requests = {}
local position = 0

local function milliseconds()
   ffi.C.clock_gettime(MONOTONIC, clock)
   return tonumber(clock.seconds) * 1000 + tonumber(clock.nanoseconds) / 1e6
end

function init(args)
   local file = assert(io.open(args[1], "rb"))
   for line in file:lines() do
      requests[#requests + 1] = file:read(tonumber(line))
   end
   file:close()
   local rate = tonumber(args[2])
   if rate then
      local due = milliseconds()
      math.randomseed(due % 2 ^ 31)
      function delay()
         due = due - math.log(1 - math.random()) * 1000 / rate
         return math.max(0, due - milliseconds())
      end
   end
end

function request()
   -- wrk asks for one before it begins, only to look at it.
   local sent = requests[math.max(position, 1)]
   position = position % #requests + 1
   return sent
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '{"answers": %d, "seconds": %f, "refused": %d, "failed": %d, "p50": %f, "p99": %f}\n',
      summary.requests, summary.duration / 1e6, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
      latency:percentile(50) / 1000, latency:percentile(99) / 1000
   ))
end
