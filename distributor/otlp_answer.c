#include "distributor/otlp_answer.h"
#include "common/base/json.h"
#include "common/base/utf8.h"
#include "common/wire/otlp.pb-c.h"
#include "common/wire/pb_arena.h"

enum { ANSWER_BYTES_MAX = 64 << 10 };

/* Texts are UTF-8 in both forms. */
static void utf8_add(struct buf *out, struct str s)
{
    for (size_t i = 0, n; i < s.n; i += n) {
        n = utf8_step(s, i);
        buf_str(out, n ? str_sub(s, i, i + n) : STR("?"));
        n = n ? n : 1;
    }
}

static struct http_resp *response(bool json, int status, struct buf *body)
{
    struct http_resp *r = http_resp_new(status);

    http_resp_body(r, json ? HTTP_TYPE_JSON : "application/x-protobuf", body);
    return r;
}

struct http_resp *otlp_response(bool json, uint32_t rejected, struct str error)
{
    struct buf body, text;

    buf_init(&body, ANSWER_BYTES_MAX);
    buf_init(&text, ANSWER_BYTES_MAX / 2);
    utf8_add(&text, error);
    if (json && !rejected) {
        buf_z(&body, "{}");
    } else if (json) {
        buf_printf(&body, "{\"partialSuccess\":{\"rejectedDataPoints\":\"%u\",\"errorMessage\":", rejected);
        json_str(&body, buf_view(&text));
        buf_z(&body, "}}");
    } else if (rejected) {
        Torc__Otlp__ExportMetricsPartialSuccess partial = TORC__OTLP__EXPORT_METRICS_PARTIAL_SUCCESS__INIT;
        Torc__Otlp__ExportMetricsServiceResponse m = TORC__OTLP__EXPORT_METRICS_SERVICE_RESPONSE__INIT;

        partial.rejected_data_points = rejected;
        partial.error_message = pb_bytes(buf_view(&text));
        m.partial_success = &partial;
        pb_pack(&m.base, &body);
    }
    buf_fini(&text);
    return response(json, 200, &body);
}

/* google.rpc.Code */
static int rpc_code(int status)
{
    enum { INVALID_ARGUMENT = 3, RESOURCE_EXHAUSTED = 8, INTERNAL = 13, UNAVAILABLE = 14 };

    switch (status) {
    case 429:
        return RESOURCE_EXHAUSTED;
    case 503:
        return UNAVAILABLE;
    default:
        return status >= 500 ? INTERNAL : INVALID_ARGUMENT;
    }
}

struct http_resp *otlp_status(bool json, int http_status, struct str error)
{
    Torc__Otlp__Status m = TORC__OTLP__STATUS__INIT;
    struct buf body, text;

    while (error.n && error.p[error.n - 1] == '\n')
        error.n--;
    buf_init(&body, ANSWER_BYTES_MAX);
    buf_init(&text, ANSWER_BYTES_MAX / 2);
    utf8_add(&text, error);
    m.code = rpc_code(http_status);
    m.message = pb_bytes(buf_view(&text));
    if (json) {
        buf_printf(&body, "{\"code\":%d,\"message\":", m.code);
        json_str(&body, buf_view(&text));
        buf_char(&body, '}');
    } else {
        pb_pack(&m.base, &body);
    }
    buf_fini(&text);
    return response(json, http_status, &body);
}
