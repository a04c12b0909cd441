/* The head against a model that keeps every sample in a plain array. */
#include "common/sys/fs.h"
#include "tests/unit/tsdb/head_image_util.h"

enum { TENANTS = 3, SERIES = 5, SAMPLES = 6000, HISTS = 4, STEPS = 12000, GENS_AHEAD = 2 };

struct model_sample {
    int64_t t, st;
    uint64_t vbits;
    int hist;          /* index, or -1: a float */
    uint64_t set, gen; /* 0: not sealed; not published */
};
struct model_series {
    struct model_sample v[SAMPLES];
    size_t n;
    int64_t newest;
};
struct model {
    struct model_series series[TENANTS][SERIES];
    struct histogram hists[HISTS];
    struct head *h;
    struct rng rng;
    int64_t now;
    uint64_t next_set, next_gen, dropped_gen, pending[4], published[4], published_gen[4];
    size_t pending_n, published_n;
    size_t verdicts[4], checks, stale;
    struct imaged images; /* used by one test */
};

static const struct hist_span spans[] = {{0, 2}, {-3, 2}};
static const uint64_t bucket_counts[HISTS][2] = {{1, 2}, {2, 2}, {5, 9}, {0, 1}};

static void names_of(int tenant, int series, char name[8], char labels[64])
{
    snprintf(name, 8, "t%d", tenant);
    snprintf(labels, 64, "__name__=m%d,i=%d,shared=x", series % 2, series);
}

static uint64_t vbits_of(const struct model *m, int hist, uint64_t bits)
{
    return hist < 0 ? bits : histogram_hash(&m->hists[hist]).hi;
}

static struct model_sample *model_find(struct model_series *s, int64_t t)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->v[i].t == t)
            return &s->v[i];
    return NULL;
}

static enum append_verdict model_append(const struct model *m, struct model_series *s,
                                        const struct model_sample *in, int64_t ooo_ms)
{
    struct model_sample *at = model_find(s, in->t);

    if (at)
        return at->hist == in->hist && at->vbits == vbits_of(m, in->hist, in->vbits)
                   ? APPEND_DUPLICATE
                   : APPEND_NEW_VALUE;
    if (s->newest != INT64_MIN && s->newest - in->t > ooo_ms)
        return APPEND_TOO_OLD;
    CHECK(s->n < SAMPLES);
    s->v[s->n] = *in;
    s->v[s->n++].vbits = vbits_of(m, in->hist, in->vbits);
    s->newest = MAX(s->newest, in->t);
    return APPEND_ACCEPTED;
}

static uint64_t random_bits(struct rng *rng)
{
    static const uint64_t odd[] = {
        STALE_NAN_BITS, NORMAL_NAN_BITS, 0, 1ULL << 63, 0x7ff0000000000000, 1, UINT64_MAX};

    switch (rng_below(rng, 4)) {
    case 0:
        return odd[rng_below(rng, ARRAY_LEN(odd))];
    case 1:
        return rng_u64(rng);
    case 2:
        return double_bits((double)rng_below(rng, 1000) / 10);
    default:
        return double_bits((double)rng_below(rng, 1000000));
    }
}

static int64_t random_time(struct model *m, const struct model_series *s)
{
    switch (rng_below(&m->rng, 10)) {
    case 0: /* behind */
        return m->now - (int64_t)rng_below(&m->rng, 5 * HOUR);
    case 1:
    case 2: /* a little behind */
        return m->now - (int64_t)rng_below(&m->rng, 10 * MINUTE);
    case 3: /* there already */
        return s->n ? s->v[rng_below(&m->rng, s->n)].t : m->now;
    default:
        return s->newest == INT64_MIN || s->newest < m->now
                   ? m->now
                   : s->newest + 1 + (int64_t)rng_below(&m->rng, 20000);
    }
}

static void step_append(struct model *m)
{
    static const int64_t windows[] = {0, 10 * MINUTE, 3 * HOUR, 100 * HOUR};
    int tenant = (int)rng_below(&m->rng, TENANTS), series = (int)rng_below(&m->rng, SERIES);
    struct model_series *s = &m->series[tenant][series];
    struct append_rules rules = {.ooo_window_ms = windows[rng_below(&m->rng, ARRAY_LEN(windows))]};
    struct model_sample in = {.t = random_time(m, s), .hist = -1, .vbits = random_bits(&m->rng)};
    const struct model_sample *old = model_find(s, in.t);
    enum append_verdict want, got;
    struct head_series *hs;
    char name[8], labels[64];

    if (rng_chance(&m->rng, series == 0 ? 0.5 : 0.02))
        in.hist = (int)rng_below(&m->rng, HISTS);
    if (rng_chance(&m->rng, tenant == 1 ? 0.3 : 0.01))
        in.st = in.t - (int64_t)rng_below(&m->rng, HOUR);
    if (old && rng_chance(&m->rng, 0.5)) {
        in.hist = old->hist;
        in.vbits = old->vbits;
    }
    want = model_append(m, s, &in, rules.ooo_window_ms);
    names_of(tenant, series, name, labels);
    head_lock(m->h);
    hs = series_of(m->h, name, labels);
    got = in.hist < 0 ? head_append(m->h, hs, in.t, in.vbits, in.st, &rules)
                      : head_append_histogram(m->h, hs, in.t, &m->hists[in.hist], in.st, &rules);
    head_unlock(m->h);
    if (got != want)
        fail_msg("verdict %d, model says %d", got, want);
    m->verdicts[got]++;
}

/* --- flush --- */
static void each_sample(struct model *m,
                        void (*fn)(struct model *m, struct model_series *s, struct model_sample *x,
                                   uint64_t arg, fingerprint fp),
                        uint64_t arg)
{
    for (int t = 0; t < TENANTS; t++) {
        for (int i = 0; i < SERIES; i++) {
            struct model_series *s = &m->series[t][i];
            char name[8], labels[64];
            fingerprint fp;

            names_of(t, i, name, labels);
            fp = fp_of(name, labels);
            for (size_t k = s->n; k > 0; k--)
                fn(m, s, &s->v[k - 1], arg, fp);
        }
    }
}

static void model_seal(struct model *m, struct model_series *s, struct model_sample *x,
                       uint64_t below, fingerprint fp)
{
    (void)s;
    if (x->set == 0 && window_start(fp, x->t, NULL) < (int64_t)below)
        x->set = m->next_set;
}
static void model_publish(struct model *m, struct model_series *s, struct model_sample *x,
                          uint64_t set, fingerprint fp)
{
    (void)s;
    (void)fp;
    if (x->set == set)
        x->gen = m->next_gen;
}
static void model_drop(struct model *m, struct model_series *s, struct model_sample *x,
                       uint64_t set, fingerprint fp)
{
    (void)m;
    (void)fp;
    if (x->set != set)
        return;
    *x = s->v[--s->n];
}

static int count_samples(void *arg, struct str tenant, const struct stored_series *s)
{
    (void)tenant;
    stored_check(s);
    for (size_t i = 0; i < s->window_count; i++)
        *(size_t *)arg += s->windows[i].count;
    return 0;
}

static void step_flush(struct model *m)
{
    size_t samples = 0;
    int64_t below;

    switch (rng_below(&m->rng, 3)) {
    case 0:
        if (m->pending_n == ARRAY_LEN(m->pending))
            return;
        m->next_set++;
        below = rng_chance(&m->rng, 0.3) ? m->now + 100 * HOUR
                                         : m->now - HOUR; /* also what is still open */
        each_sample(m, model_seal, (uint64_t)below);
        seal(m->h, below, m->next_set);
        CHECK(head_flush_each(m->h, m->next_set, count_samples, &samples, NULL) == 0);
        m->pending[m->pending_n++] = m->next_set;
        return;
    case 1:
        if (m->pending_n == 0 || m->published_n == ARRAY_LEN(m->published))
            return;
        m->next_gen++;
        each_sample(m, model_publish, m->pending[0]);
        head_published(m->h, m->pending[0], m->next_gen);
        m->published_gen[m->published_n] = m->next_gen;
        m->published[m->published_n++] = m->pending[0];
        memmove(m->pending, m->pending + 1, --m->pending_n * sizeof m->pending[0]);
        return;
    default:
        if (m->published_n == 0)
            return;
        each_sample(m, model_drop, m->published[0]);
        head_drop(m->h, m->published[0], m->now - 2 * HOUR);
        m->dropped_gen = m->published_gen[0];
        m->published_n--;
        memmove(m->published, m->published + 1, m->published_n * sizeof m->published[0]);
        memmove(m->published_gen, m->published_gen + 1,
                m->published_n * sizeof m->published_gen[0]);
        for (int t = 0; t < TENANTS; t++)
            for (int i = 0; i < SERIES; i++)
                if (m->series[t][i].n == 0 && m->series[t][i].newest < m->now - 2 * HOUR)
                    m->series[t][i].newest = INT64_MIN; /* the series is gone */
    }
}

/* --- select --- */
struct checking {
    struct model *m;
    struct store_select q;
    uint64_t gen;
    int tenant;
    bool seen[SERIES];
    size_t samples;
};

static bool visible(const struct model_sample *x, uint64_t gen)
{
    return x->gen == 0 || x->gen > gen;
}

/* Bounds of what is visible of a window. */
static bool window_bounds(const struct model_series *s, fingerprint fp, int64_t start, uint64_t gen,
                          int64_t *mint, int64_t *maxt)
{
    *mint = INT64_MAX;
    *maxt = INT64_MIN;
    for (size_t i = 0; i < s->n; i++) {
        if (!visible(&s->v[i], gen) || window_start(fp, s->v[i].t, NULL) != start)
            continue;
        *mint = MIN(*mint, s->v[i].t);
        *maxt = MAX(*maxt, s->v[i].t);
    }
    return *mint <= *maxt;
}

static size_t expected_samples(const struct model_series *s, fingerprint fp,
                               const struct checking *c)
{
    size_t n = 0;
    int64_t mint, maxt;

    for (size_t i = 0; i < s->n; i++) {
        if (!visible(&s->v[i], c->gen))
            continue;
        window_bounds(s, fp, window_start(fp, s->v[i].t, NULL), c->gen, &mint, &maxt);
        n += mint <= c->q.maxt_ms && maxt >= c->q.mint_ms;
    }
    return n;
}

static int check_series(void *arg, const struct stored_series *got)
{
    struct checking *c = arg;
    int i = labels_get(&got->labels, STR("i")).p[0] - '0';
    struct model_series *s = &c->m->series[c->tenant][i];
    struct chunk_columns cols;
    struct arena a;

    CHECK(i < SERIES && !c->seen[i]);
    c->seen[i] = true;
    stored_check(got);
    arena_init(&a, 1 << 26);
    CHECK(stored_series_columns(got, INT64_MIN, INT64_MAX, &a, &cols, NULL) == 0);
    CHECK_INT(cols.n, expected_samples(s, got->fp, c));
    for (size_t k = 0; k < cols.n; k++) {
        const struct model_sample *x = model_find(s, cols.t[k]);

        CHECK(x && visible(x, c->gen) && chunk_value_word(&cols, k) == x->vbits &&
              x->st == (cols.st ? cols.st[k] : 0));
        CHECK((cols.hist && cols.hist[k]) == (x->hist >= 0));
        if (x->hist >= 0)
            CHECK(histogram_eq(cols.hist[k], &c->m->hists[x->hist]));
    }
    c->samples += cols.n;
    arena_fini(&a);
    return 0;
}

static void step_check(struct model *m)
{
    struct checking c = {.m = m,
                         .tenant = (int)rng_below(&m->rng, TENANTS),
                         .gen = m->dropped_gen + rng_below(&m->rng, 4)};
    bool by_name = rng_chance(&m->rng, 0.5);
    struct matchers ms;
    char name[8], labels[64];
    size_t bytes = rng_chance(&m->rng, 0.5) ? SIZE_MAX : 1;
    uint64_t cursor = 0;

    names_of(c.tenant, 0, name, labels);
    matchers_of(&ms, by_name ? (const char *const[]){"__name__", "=", "m1", NULL}
                             : (const char *const[]){"shared", "=~", ".+", NULL});
    c.q = query_of(name, &ms, m->now - (int64_t)rng_below(&m->rng, 6 * HOUR), 0, STORE_DATA);
    c.q.maxt_ms = c.q.mint_ms + (int64_t)rng_below(&m->rng, 6 * HOUR);
    if (m->dropped_gen > 0) {
        CHECK_INT(
            head_select(m->h, &c.q, m->dropped_gen - 1, bytes, &cursor, check_series, &c, NULL),
            RC_STALE);
        m->stale++;
    }
    do
        CHECK(head_select(m->h, &c.q, c.gen, bytes, &cursor, check_series, &c, NULL) == 0);
    while (cursor);
    for (int i = 0; i < SERIES; i++) {
        names_of(c.tenant, i, name, labels);
        CHECK(c.seen[i] ==
              ((!by_name || i % 2 == 1) &&
               expected_samples(&m->series[c.tenant][i], fp_of(name, labels), &c) > 0));
    }
    m->checks += c.samples > 0;
    matchers_fini(&ms);
}

static void stats_check(struct model *m)
{
    for (int t = 0; t < TENANTS; t++) {
        struct head_tenant_stats st = {0};
        char name[8], labels[64];
        uint64_t samples = 0;

        names_of(t, 0, name, labels);
        for (int i = 0; i < SERIES; i++)
            samples += m->series[t][i].n;
        head_tenant_stats(m->h, str_of(name), m->now, &st);
        CHECK_INT(st.samples, samples);
    }
}

/* Half of them are only written: later ones rely on their files. */
static void step_image(struct model *m)
{
    imaged_write(&m->images, m->h);
    if (rng_chance(&m->rng, 0.5))
        imaged_reload(&m->images, &m->h);
}

static void compare(double images)
{
    struct model *m = calloc(1, sizeof *m);

    m->h = head_new();
    m->now = T0;
    rng_init(&m->rng, test_seed());
    for (int i = 0; i < HISTS; i++)
        m->hists[i] = hist_of(i, &spans[i % 2], bucket_counts[i]);
    for (int t = 0; t < TENANTS; t++)
        for (int i = 0; i < SERIES; i++)
            m->series[t][i].newest = INT64_MIN;
    for (int step = 0; step < STEPS; step++) {
        m->now += (int64_t)rng_below(&m->rng, rng_chance(&m->rng, 0.001) ? 8 * HOUR : 4000);
        step_append(m);
        if (rng_chance(&m->rng, 0.01))
            step_flush(m);
        if (rng_chance(&m->rng, 0.01))
            step_check(m);
        if (images > 0 && rng_chance(&m->rng, images))
            step_image(m);
    }
    stats_check(m);
    CHECK(m->verdicts[APPEND_ACCEPTED] > STEPS / 3 && m->verdicts[APPEND_DUPLICATE] > STEPS / 100);
    CHECK(m->verdicts[APPEND_NEW_VALUE] > STEPS / 100 && m->verdicts[APPEND_TOO_OLD] > STEPS / 100);
    CHECK(m->checks > 20 && m->stale > 10 && m->next_gen > 5);
    CHECK(images == 0 || (m->images.written > 100 && m->images.loaded > 50));
    imaged_fini(&m->images);
    head_free(m->h);
    free(m);
}

TEST(head_agrees_with_a_plain_model)
{
    compare(0);
}

TEST(a_head_out_of_its_images_agrees_with_a_plain_model)
{
    compare(0.02);
}

/* --- replicas --- */
static int digest_text(void *arg, const struct stored_series *s)
{
    struct buf *b = arg;

    stored_check(s);
    labels_print(b, &s->labels);
    for (size_t i = 0; i < s->window_count; i++)
        buf_printf(b, " %lld %u %016lx%016lx", (long long)s->windows[i].start_ms,
                   s->windows[i].count, (unsigned long)s->windows[i].digest.hi,
                   (unsigned long)s->windows[i].digest.lo);
    buf_char(b, '\n');
    return 0;
}

static char *digests_of(struct head *h)
{
    struct store_select q = query_of("t", NULL, INT64_MIN, INT64_MAX, STORE_DATA);
    uint64_t cursor = 0;
    struct buf b;
    size_t n;

    buf_init(&b, 1 << 24);
    CHECK(head_select(h, &q, 0, SIZE_MAX, &cursor, digest_text, &b, NULL) == 0);
    buf_char(&b, '\0');
    return buf_take(&b, &n);
}

TEST(replicas_have_equal_digests_whatever_the_order_of_arrival)
{
    enum { N = 3000, REPLICAS = 4 };
    struct model_sample *v = calloc(N, sizeof *v);
    struct histogram hists[HISTS];
    struct rng rng;
    char *first = NULL;

    rng_init(&rng, test_seed());
    for (int i = 0; i < HISTS; i++)
        hists[i] = hist_of(i, &spans[i % 2], bucket_counts[i]);
    for (int i = 0; i < N; i++)
        v[i] = (struct model_sample){.t = T0 + i * 7919,
                                     .st = i % 5 ? 0 : i,
                                     .vbits = random_bits(&rng),
                                     .hist = i % 11 ? -1 : i % HISTS};
    for (int r = 0; r < REPLICAS; r++) {
        struct head *h = head_new();
        char *got;

        for (int i = N - 1; r > 0 && i > 0;
             i--) { /* the first replica gets them in order, the second nearly so */
            int reach = r == 1 ? MIN(i, 5) : i, k = i - (int)rng_below(&rng, (uint64_t)reach + 1);
            struct model_sample x = v[i];

            v[i] = v[k];
            v[k] = x;
        }
        for (int i = 0; i < N; i++) {
            struct head_series *s;

            head_lock(h);
            s = series_of(h, "t", "a=1");
            if (v[i].hist < 0)
                head_replay(h, s, v[i].t, v[i].vbits, v[i].st);
            else
                head_replay_histogram(h, s, v[i].t, &hists[v[i].hist], v[i].st);
            if (r == 3 && i % 500 == 499) /* and one flushes meanwhile */
                head_seal(h, T0 + 2 * HOUR, (uint64_t)i);
            head_unlock(h);
        }
        got = digests_of(h);
        if (first)
            CHECK_STR(got, first);
        else
            first = strdup(got);
        free(got);
        head_free(h);
    }
    free(first);
    free(v);
}
