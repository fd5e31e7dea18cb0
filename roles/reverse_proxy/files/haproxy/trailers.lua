-- Refuses requests with trailers: HAProxy would pass them on, and what a client says there of itself no rule sees.
-- A request without any has one byte of HAProxy's own behind its data, the mark of the end.
local Trailers = {id = "jellynet-trailers", flags = filter.FLT_CFG_FL_HTX}
Trailers.__index = Trailers

function Trailers:new()
    return setmetatable({}, Trailers)
end

function Trailers:start_analyze(txn, channel)
    if not channel:is_resp() then
        filter.register_data_filter(self, channel)
    end
end

-- Trailers come whole or not at all, and only behind all data.
function Trailers:http_payload(txn, message)
    local data = message:body()
    if message:input() > (data and #data or 0) + 1 then
        error("a request with trailers", 0) -- answered with 400; a negative number would be taken for "all"
    end
end

core.register_filter("jellynet-trailers", Trailers, function(class, args) return class end)
