-- A load for wrk: the requests of a file, one after the other, and one line of JSON at the end.
-- The file (its name comes after wrk's "--") has one line for the Authorization header, empty for none, and then three
-- lines a request: method, path, body.

local requests = {}
local turn = 0

function init(arguments)
  local lines = io.lines(arguments[1])
  local headers = { ["Content-Type"] = "application/json" }
  local authorization = lines()
  if authorization ~= "" then headers["Authorization"] = authorization end
  for method in lines do
    local path, body = lines(), lines()
    if body == "" then body = nil end
    requests[#requests + 1] = wrk.format(method, path, headers, body)
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "failed": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status + errors.connect + errors.read + errors.write + errors.timeout
  ))
end
