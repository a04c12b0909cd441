/* The answer to a remote read, with and without its snappy: labels lie within it, and no series is without the bytes that it takes. */
#include "loadgen/read_answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct bytes {
    const char *p;
    size_t n, items;
};

static int look(void *arg, struct read_series *s, UNUSED struct err *err)
{
    struct bytes *b = arg;

    for (size_t i = 0; i < s->labels; i++) {
        struct str v = s->pairs[i].value;

        ASSERT(v.n == 0 || (v.p >= b->p && v.p + v.n <= b->p + b->n));
    }
    b->items += 1 + s->labels + s->samples.n + s->histogram_times.n;
    ASSERT(b->items <= b->n); /* each takes two bytes at least */
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct bytes b = {(const char *)data, n, 0};
    struct buf plain;
    struct err err;

    read_answer_decode(str_n(data, n), look, &b, &err);
    buf_init(&plain, 1 << 20);
    if (read_answer_inflate(str_n(data, n), &plain, &err) == 0) {
        b = (struct bytes){plain.p, plain.n, 0};
        read_answer_decode(buf_view(&plain), look, &b, &err);
    }
    buf_fini(&plain);
    return 0;
}
