-- The requests of each case, for wrk: wrk ... URL -- LOAD PATH...
-- A load that leaves `request` undefined has its one request formatted once, and no Lua runs while wrk measures.

local loads = {}

function loads.plain(paths)
   wrk.path = paths[1]
end

function loads.post(paths)
   wrk.method = "POST"
   wrk.path = paths[1]
   wrk.headers["Content-Type"] = "application/octet-stream"
   wrk.body = string.rep("x", 1024)
end

-- One request in a hundred goes to the second path: spread evenly, so that each run has the same share.
function loads.mix(paths)
   local usual, slow = wrk.format("GET", paths[1]), wrk.format("GET", paths[2])
   local count = 0
   request = function()
      count = count + 1
      return count % 100 == 0 and slow or usual
   end
end

-- What browsers send.  Query, Referer and Cookie differ from request to request, so that no head comes twice.
function loads.browser(paths)
   local agents = {
      "Mozilla/5.0 (X11; Linux x86_64; rv:139.0) Gecko/20100101 Firefox/139.0",
      "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/137.0.0.0 Safari/537.36",
      "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
      "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
   }
   local languages = { "en-US,en;q=0.5", "de-DE,de;q=0.9,en;q=0.8", "fr,fr-FR;q=0.8,en-US;q=0.5,en;q=0.3" }
   local middles = {}
   for _, agent in ipairs(agents) do
      for _, language in ipairs(languages) do
         middles[#middles + 1] = " HTTP/1.1\r\nHost: " .. wrk.headers["Host"]
            .. "\r\nUser-Agent: " .. agent
            .. "\r\nAccept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
            .. "\r\nAccept-Language: " .. language
            .. "\r\nAccept-Encoding: gzip, deflate, br, zstd"
            .. "\r\nConnection: keep-alive\r\nUpgrade-Insecure-Requests: 1"
            .. "\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-User: ?1"
            .. "\r\nReferer: " .. wrk.scheme .. "://" .. wrk.headers["Host"] .. "/?page="
      end
   end
   local start = "GET " .. paths[1] .. "?page="
   local count = 0
   request = function()
      count = count + 1
      local number = tostring(count)
      return start .. number .. middles[count % #middles + 1] .. number
         .. "\r\nCookie: session=8f14e45fceea167a5a36dedd" .. number .. "; theme=dark\r\n\r\n"
   end
end

function init(args)
   local paths = {}
   for index = 2, #args do
      paths[#paths + 1] = args[index]
   end
   loads[args[1]](paths)
end

-- One line of JSON, since wrk's own report rounds; latencies are in microseconds.
function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '{"requests": %d, "microseconds": %d, "errors": '
         .. '{"connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d}, '
         .. '"latency": {"50": %d, "98": %d, "99": %d, "100": %d}}\n',
      summary.requests, summary.duration,
      errors.connect, errors.read, errors.write, errors.timeout, errors.status,
      latency:percentile(50), latency:percentile(98), latency:percentile(99), latency.max
   ))
end
