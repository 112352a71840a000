-- What wrk sends: the requests of a file in turn (a line the path, the next the body); at the end, what it counted.
local requests, at = {}, 0

function init(args)
  local lines = io.lines(args[1])
  for path in lines do
    requests[#requests + 1] = wrk.format("POST", path, {["Content-Type"] = "application/json"}, lines())
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\n{"answers": %d, "refused": %d, "socket_errors": %d, "seconds": %.6f, ' ..
    '"p50_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f}\n',
    summary.requests, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3
  ))
end
