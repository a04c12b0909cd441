/* Any bytes as a page of series or as matchers: refused, or read, written anew and read as the same. First byte: 0 a page, 1 matchers (modulo 2). */
#include "common/wire/select.h"

#include <stdlib.h>

enum { ARENA_MAX = 64 << 20, OUT_MAX = 64 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool cond)
{
    if (!cond)
        abort();
}

/* Writes what it reads; false when the page is refused (before its end). */
static bool page_copy(struct str page, struct arena *a, struct buf *out)
{
    struct wire_series s;
    struct rd r;
    int rc = select_page_open(page, &r, NULL);

    if (rc < 0)
        return false;
    select_page_begin(out);
    while ((rc = select_page_next(&r, a, &s, NULL)) > 0) {
        int64_t previous = 0;

        select_page_series(out, s.fp, &s.labels, s.window_count);
        for (size_t i = 0; i < s.window_count; i++) {
            select_page_window(out, previous, &s.windows[i]);
            previous = s.windows[i].start_ms;
        }
    }
    return rc == 0;
}

static void page(struct str bytes)
{
    struct buf first, second;
    struct arena a;

    arena_init(&a, ARENA_MAX);
    buf_init(&first, OUT_MAX);
    buf_init(&second, OUT_MAX);
    if (page_copy(bytes, &a, &first)) {
        must(buf_ok(&first) && page_copy(buf_view(&first), &a, &second));
        must(str_eq(buf_view(&first), buf_view(&second)));
    }
    buf_fini(&first);
    buf_fini(&second);
    arena_fini(&a);
}

static void matchers(struct str bytes)
{
    struct matcher *list, *again;
    struct arena a;
    struct buf out;
    size_t n, m;

    arena_init(&a, ARENA_MAX);
    buf_init(&out, OUT_MAX);
    if (matchers_decode(bytes, &a, &list, &n, NULL) == 0) {
        matchers_encode(&out, list, n);
        must(matchers_decode(buf_view(&out), &a, &again, &m, NULL) == 0 && n == m);
        for (size_t i = 0; i < n; i++) {
            must(list[i].type == again[i].type && str_eq(list[i].name, again[i].name) && str_eq(list[i].value, again[i].value));
            matcher_fini(&list[i]);
            matcher_fini(&again[i]);
        }
    }
    buf_fini(&out);
    arena_fini(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] % 2)
        matchers(str_n(data + 1, size - 1));
    else
        page(str_n(data + 1, size - 1));
    return 0;
}
