/* Any windows of any chunks, as they could come from a replica or a block: merging, compacting and
 * reading them fails, or agrees with itself.
 * Input: u8 inputs; per input: u8 windows; per window: u8 start (hours), svarint mint, svarint
 * maxt, uvarint count, u8 digest (0: the right one), u8 chunks, lstr each. */
#include "tsdb/store.h"

enum { INPUTS_MAX = 3, WINDOWS_MAX = 4, CHUNKS_MAX = 3 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct input {
    struct stored_series s;
    struct stored_window windows[WINDOWS_MAX];
    struct str chunks[WINDOWS_MAX][CHUNKS_MAX];
};

/* What a careful sender would say of these chunks. */
static void window_right(struct stored_window *w, struct arena *a)
{
    struct chunk_columns cols[CHUNKS_MAX], all;

    for (uint32_t i = 0; i < w->chunk_count; i++)
        if (chunk_decode(w->chunks[i], a, &cols[i], NULL) < 0)
            return;
    if (w->chunk_count == 0 || chunk_merge(cols, w->chunk_count, a, &all, NULL) < 0)
        return;
    w->mint_ms = all.t[0];
    w->maxt_ms = all.t[all.n - 1];
    w->count = (uint32_t)all.n;
    w->digest = chunk_digest(&all);
}

static void input_read(struct rd *r, struct arena *a, struct input *in)
{
    in->s = (struct stored_series){.fp = {1, 2}, .windows = in->windows};
    in->s.window_count = rd_u8(r) % (WINDOWS_MAX + 1);
    for (size_t i = 0; i < in->s.window_count; i++) {
        struct stored_window *w = &in->windows[i];

        *w = (struct stored_window){.start_ms = rd_u8(r) * 3600000LL};
        w->mint_ms = rd_svarint(r);
        w->maxt_ms = rd_svarint(r);
        w->count = (uint32_t)rd_uvarint(r);
        w->digest.lo = rd_u8(r);
        w->chunk_count = rd_u8(r) % (CHUNKS_MAX + 1);
        w->chunks = in->chunks[i];
        for (uint32_t k = 0; k < w->chunk_count; k++)
            in->chunks[i][k] = rd_lstr(r);
        if (w->digest.lo == 0)
            window_right(w, a);
    }
}

static void read_all(const struct stored_series *s)
{
    struct chunk_columns c, again;
    struct stored_series compact;
    struct arena a;

    arena_init(&a, 64 << 20);
    if (stored_series_columns(s, INT64_MIN, INT64_MAX, &a, &c, NULL) == 0) {
        for (size_t i = 1; i < c.n; i++)
            ASSERT(c.t[i - 1] < c.t[i]);
        if (stored_series_compact(s, &a, &compact, NULL) == 0) {
            ASSERT(stored_series_columns(&compact, INT64_MIN, INT64_MAX, &a, &again, NULL) == 0);
            ASSERT(u128_eq(chunk_digest(&c), chunk_digest(&again)));
        }
    }
    arena_fini(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct rd r = rd_of(str_n(data, n));
    const struct stored_series *refs[INPUTS_MAX];
    struct input in[INPUTS_MAX];
    struct stored_series merged;
    struct arena a;
    size_t count = 1 + rd_u8(&r) % INPUTS_MAX;

    arena_init(&a, 64 << 20);
    for (size_t i = 0; i < count; i++) {
        input_read(&r, &a, &in[i]);
        refs[i] = &in[i].s;
        read_all(refs[i]);
    }
    if (stored_series_merge(refs, NULL, count, &a, &merged, NULL) == 0)
        read_all(&merged);
    arena_fini(&a);
    return 0;
}
