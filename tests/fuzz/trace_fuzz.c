/* Traces of other processes: bounded whatever comes, and what was taken prints as JSON and is encoded to what decodes again. */
#include "common/obs/trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct trace *t = trace_new("root"), *again = trace_new("again");
    struct buf text, bytes;

    buf_init(&text, 16 << 20);
    buf_init(&bytes, 16 << 20);
    if (trace_decode(str_n(data, n), trace_root(t), NULL) == 0) {
        trace_print(&text, t);
        trace_encode(&bytes, t);
        ASSERT(buf_ok(&text) && buf_ok(&bytes) && trace_decode(buf_view(&bytes), trace_root(again), NULL) == 0);
    }
    buf_fini(&text);
    buf_fini(&bytes);
    trace_free(t);
    trace_free(again);
    return 0;
}
