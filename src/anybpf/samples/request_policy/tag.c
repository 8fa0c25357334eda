/* tag: marks requests by what sends them: 1 curl, 2 Python, 3 whoever says "bot" in the first 64 bytes of the user agent. */
#include "http_request.h"

#define LOOKED_AT 64

enum { CURL = 1, PYTHON = 2, BOT = 3 };

SEC("http_request")
int tag(struct http_request *ctx)
{
    const __u8 *agent = ctx->user_agent, *end = ctx->user_agent_end;
    if (agent + 5 <= end && !__builtin_memcmp(agent, "curl/", 5))
        ctx->tag = CURL;
    else if (agent + 7 <= end && !__builtin_memcmp(agent, "Python-", 7))
        ctx->tag = PYTHON;
    for (__u32 at = 0; at < LOOKED_AT && agent + 3 <= end; at++, agent++) {
        if (agent[0] == 'b' && agent[1] == 'o' && agent[2] == 't') {
            ctx->tag = BOT;
            break;
        }
    }
    return ALLOW;
}
