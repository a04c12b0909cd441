/* OTLP's JSON form: refused with a reason, or protobuf that protobuf-c reads and that the translation never calls malformed. */
#include "common/wire/pb_arena.h"
#include "distributor/otlp_json.h"
#include "distributor/otlp_translate.h"

static void refuse(UNUSED void *arg, UNUSED enum discard_reason why, UNUSED uint32_t points, const char *text)
{
    ASSERT(text[0]);
}

static void request_check(struct str request)
{
    struct otlp_options o = {.labels = {.naming = {.suffixes = true}, .scope = true}, .delta = OTLP_DELTA_NATIVE, .body_max = 4 << 20, .refuse = refuse};
    ProtobufCMessage *m;
    struct otlp_write w;
    struct arena a;
    int rc;

    arena_init(&a, 64 << 20);
    rc = pb_unpack(&torc__otlp__export_metrics_service_request__descriptor, &a, request, &m, NULL);
    ASSERT(rc == 0 || rc == RC_LIMIT);
    arena_reset(&a);
    rc = otlp_translate(request, &o, &a, &w, NULL);
    ASSERT(rc == 0 || rc == RC_LIMIT);
    otlp_write_fini(&w);
    arena_fini(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct buf out;
    struct err err = {0};

    buf_init(&out, n * 5 + 64);
    if (otlp_json_request(str_n(data, n), &out, &err) == 0)
        request_check(buf_view(&out));
    else
        ASSERT(err.text[0]);
    buf_fini(&out);
    return 0;
}
