#include "common/base/fault.h"
#include "common/base/rng.h"
#include "common/sys/fs.h"
#include "common/sys/thread.h"
#include "tests/test.h"
#include "tsdb/wal_format.h"
#include "tsdb/wal_payload.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- a log whose records say what they are: u8 1, u64 number, then bytes that follow from the
 * number --- */
enum { SHARD = 3, HEAD = 0x1234 };

static char dir[256];
static void fresh_dir(void)
{
    static int count;

    snprintf(dir, sizeof dir, "%s/wal-%d", test_tmpdir(), count++);
}

static size_t record_bytes(uint64_t number, uint64_t max)
{
    return 9 + mix64(number + 1) % max;
}

static void record_fill(uint64_t number, size_t n, char *out)
{
    uint64_t pattern = mix64(number) | 1;

    out[0] = 1;
    le_put64(out + 1, number);
    for (size_t i = 9; i < n; i++)
        out[i] = (char)(pattern >> i % 57);
}

/* What record number must be; remembered, because the tests below ask a million times. */
static struct str record_want(uint64_t number, uint64_t max)
{
    enum { CACHED = 4096 };
    static struct {
        uint64_t max;
        char *p;
    } cache[CACHED];
    size_t n = record_bytes(number, max);

    if (number >= CACHED)
        return (struct str){0};
    if (cache[number].max != max) {
        free(cache[number].p);
        cache[number].p = malloc(n);
        cache[number].max = max;
        record_fill(number, n, cache[number].p);
    }
    return str_n(cache[number].p, n);
}

static int record_append(struct wal *w, uint64_t number, uint64_t max, struct err *err)
{
    size_t n = record_bytes(number, max), half = n / 2;
    char *p = malloc(n);
    struct str parts[3];
    int rc;

    record_fill(number, n, p);
    parts[0] = str_n(p, half);
    parts[1] = str_n("", 0);
    parts[2] = str_n(p + half, n - half);
    rc = wal_append(w, WAL_SAMPLES, parts, 3, (int64_t)number, err);
    free(p);
    return rc;
}

/* Counts records, each of which must be the one that follows. */
struct seen {
    uint64_t next, max;
    bool wrong;
    uint64_t series; /* records of a checkpoint */
};
static int see(void *arg, enum wal_type type, struct str payload, int64_t *ret_t_max_ms,
               UNUSED struct err *err)
{
    struct seen *s = arg;
    uint64_t number;

    if (type == WAL_SERIES) {
        s->series++;
        return 0;
    }
    if (type != WAL_SAMPLES || payload.n < 9) {
        s->wrong = true;
        return 0;
    }
    number = le_get64(payload.p + 1);
    s->wrong |= number != s->next || !str_eq(payload, record_want(number, s->max));
    s->next = number + 1;
    *ret_t_max_ms = (int64_t)number;
    return 0;
}

static int replay(struct seen *s, struct wal_replay_stats *ret, struct err *err)
{
    struct wal_replay_cfg cfg = {.dir = dir, .shard = SHARD, .fn = see, .arg = s};

    s->wrong = false;
    return wal_replay(&cfg, ret, err);
}

/* As behind a head image that has everything before the first segment there is. */
static int replay_cut(struct seen *s, struct wal_replay_stats *ret, struct err *err)
{
    struct wal_replay_cfg cfg = {.dir = dir, .shard = SHARD, .fn = see, .arg = s};
    fs_names names;

    CHECK_INT(fs_list(dir, &names, NULL), 0);
    for (size_t i = names.n; i > 0; i--) {
        uint64_t number = wal_name_number(names.v[i - 1], WAL_SEGMENT_SUFFIX);

        cfg.from.segment = number ? number : cfg.from.segment;
    }
    fs_names_free(&names);
    s->wrong = false;
    return wal_replay(&cfg, ret, err);
}

static struct wal *open_after(const struct wal_replay_stats *found)
{
    struct wal_cfg cfg = {.dir = dir, .shard = SHARD, .head_id = HEAD};
    struct wal *w;
    struct err err;

    if (wal_open(&cfg, found, &w, &err) < 0)
        fail_msg("%s", err_text(&err));
    return w;
}

static struct wal *open_new(void)
{
    struct wal_replay_stats none = {0};

    fresh_dir();
    return open_after(&none);
}

/* Replays expecting records [from, to). */
static void expect(uint64_t from, uint64_t to, uint64_t max)
{
    struct seen s = {.next = from, .max = max};
    struct wal_replay_stats stats;
    struct err err;

    if (replay(&s, &stats, &err) < 0)
        fail_msg("%s", err_text(&err));
    CHECK(!s.wrong);
    CHECK_INT(s.next, to);
    CHECK(stats.head_id == HEAD);
    wal_replay_stats_fini(&stats);
}

static char *file(const char *name)
{
    static char path[512];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static struct buf slurp(const char *name)
{
    struct buf b;

    buf_init(&b, 1 << 28);
    CHECK(fs_read(file(name), &b, NULL) == 0);
    return b;
}

static void spill(const char *name, const void *p, size_t n)
{
    int fd = open(file(name), O_WRONLY | O_CREAT | O_TRUNC, 0666);

    CHECK(fd >= 0 && write(fd, p, n) == (ssize_t)n);
    close(fd);
}

TEST(log_gives_back_its_records_in_order_over_reopens_and_rotations)
{
    struct wal *w = open_new();
    uint64_t next = 0;
    struct seen s;

    for (int life = 0; life < 4; life++) {
        struct wal_replay_stats stats;

        for (int i = 0; i < 50; i++) {
            CHECK(record_append(w, next++, 5000, NULL) == 0);
            if (i % 7 == 0)
                CHECK(wal_sync(w, NULL) == 0);
            if (i == 20)
                CHECK(wal_rotate(w, NULL) == 0);
        }
        CHECK_INT(wal_segment(w), life + 2);
        wal_close(w);
        s = (struct seen){.max = 5000};
        CHECK(replay(&s, &stats, NULL) == 0);
        CHECK(!s.wrong && s.next == next && stats.records == next && stats.torn_bytes == 0);
        CHECK_INT(stats.segments.n, life + 2);
        CHECK_INT(stats.segments.v[0].t_max_ms, 20);
        w = open_after(&stats);
        CHECK(wal_bytes(w) == stats.bytes);
        wal_replay_stats_fini(&stats);
    }
    wal_close(w);
}

TEST(log_rotates_when_a_segment_is_full_and_refuses_too_large_a_record)
{
    struct wal *w = open_new();
    size_t n = WAL_RECORD_BYTES_MAX;
    char *p = malloc(n + 1);
    struct str part = {p, n + 1};
    struct err err;

    memset(p, 1, n + 1);
    CHECK(wal_append(w, WAL_SERIES, &part, 1, 0, &err) == RC_LIMIT);
    part.n = n;
    CHECK(wal_append(w, WAL_SERIES, &part, 1, 0, &err) == 0);
    CHECK_INT(wal_segment(w), 1);
    CHECK(wal_append(w, WAL_SERIES, &part, 1, 0, &err) == 0);
    CHECK_INT(wal_segment(w), 2);
    CHECK(wal_bytes(w) <= 2 * (uint64_t)WAL_SEGMENT_BYTES);
    wal_close(w);
    {
        struct seen s = {0};
        struct wal_replay_stats stats;

        CHECK(replay(&s, &stats, &err) == 0);
        CHECK(s.series == 2);
        wal_replay_stats_fini(&stats);
    }
    CHECK(fs_remove_tree(dir, NULL) == 0);
    free(p);
}

/* One segment of records, with the offset behind each; synced: SYNCED records all along. */
enum { PIECES = 400 };
static struct buf one_segment(uint64_t max, size_t bytes, bool synced, uint64_t ends[PIECES],
                              uint64_t *ret_count)
{
    struct wal *w = open_new();
    struct buf b;

    *ret_count = 0;
    while (wal_bytes(w) < bytes && *ret_count < PIECES) {
        CHECK(record_append(w, *ret_count, max, NULL) == 0);
        ends[(*ret_count)++] = wal_bytes(w);
        if (synced)
            CHECK(wal_sync(w, NULL) == 0);
    }
    if (synced) {
        wal_close(w);
    } else { /* as a killed process leaves it */
        b = slurp("00000001.wal");
        wal_close(w);
        spill("00000001.wal", b.p, b.n);
        return b;
    }
    return slurp("00000001.wal");
}

static const struct wal_header first = {WAL_KIND_SEGMENT, SHARD, 1, HEAD, 0};

static uint64_t records_within(const uint64_t *ends, uint64_t count, uint64_t n)
{
    uint64_t i = 0;

    while (i < count && ends[i] <= n)
        i++;
    return i;
}

TEST(log_cut_at_any_byte_gives_exactly_the_longest_valid_prefix)
{
    uint64_t ends[PIECES], count, valid;
    struct buf b = one_segment(400, 1 << 16, false, ends, &count);
    char junk[64], *copy = malloc(b.n + sizeof junk);
    struct rng r;

    rng_init(&r, test_seed());
    CHECK(count > 200 && ends[count - 1] == b.n);
    for (size_t n = 0; n <= b.n; n++) {
        uint64_t want = records_within(ends, count, n), cut = want ? ends[want - 1]
                                                              : n >= WAL_HEADER_BYTES
                                                                  ? WAL_HEADER_BYTES
                                                                  : 0;

        for (int pad = 0; pad < 3; pad++) {
            size_t padded = n + (pad ? 1 + rng_below(&r, sizeof junk) : 0);
            struct seen s = {.max = 400};
            struct err err;
            int rc;

            if (pad && n < WAL_HEADER_BYTES)
                continue; /* a header of junk is no torn write */
            memcpy(copy, b.p, n);
            for (size_t i = n; i < padded; i++)
                copy[i] = pad == 1 ? 0 : (char)rng_u64(&r);
            if (pad && n < b.n && copy[n] == b.p[n])
                continue; /* by chance the byte that was cut: another n covers it */
            rc = wal_segment_scan(str_n(copy, padded), &first, true, see, &s, &valid, &err);
            if (rc < 0 || s.wrong || s.next != want || valid != cut)
                fail_msg("cut at %zu, padded to %zu: %d %s, %llu records, %llu valid", n, padded,
                         rc, err_text(&err), (unsigned long long)s.next, (unsigned long long)valid);
        }
    }
    free(copy);
    buf_fini(&b);
}

TEST(torn_files_are_cut_on_disk_and_the_log_goes_on_behind)
{
    uint64_t ends[PIECES], count;
    struct buf b = one_segment(300, 4000, false, ends, &count);

    for (size_t n = 0; n <= b.n; n += n < 60 ? 7 : 97) {
        uint64_t want = records_within(ends, count, n);
        struct wal_replay_stats stats;
        struct seen s = {.max = 300};
        struct wal *w;

        spill("00000001.wal", b.p, n);
        CHECK(replay(&s, &stats, NULL) == 0);
        CHECK(!s.wrong && s.next == want &&
              stats.torn_bytes == n - (want                    ? ends[want - 1]
                                       : n >= WAL_HEADER_BYTES ? WAL_HEADER_BYTES
                                                               : 0));
        w = open_after(&stats);
        wal_replay_stats_fini(&stats);
        CHECK(record_append(w, want, 300, NULL) == 0);
        CHECK(wal_rotate(w, NULL) == 0);
        CHECK(record_append(w, want + 1, 300, NULL) == 0);
        wal_close(w);
        expect(0, want + 2, 300);
        CHECK(unlink(file("00000002.wal")) == 0);
    }
    buf_fini(&b);
}

TEST(flipped_bits_are_detected_and_never_become_a_wrong_record)
{
    uint64_t ends[PIECES], count, valid;
    struct buf b = one_segment(200, 1 << 13, true, ends, &count);
    size_t torn = 0, refused = 0;

    CHECK(b.n > 4096);
    for (size_t bit = 0; bit < 4096 * 8; bit++) {
        for (int last = 0; last < 2; last++) {
            struct seen s = {.max = 200};
            int rc;

            b.p[bit / 8] ^= (char)(1 << bit % 8);
            valid = 0;
            rc = wal_segment_scan(buf_view(&b), &first, last, see, &s, &valid, NULL);
            b.p[bit / 8] ^= (char)(1 << bit % 8);
            if (s.wrong)
                fail_msg("bit %zu: a wrong record", bit);
            /* Everything here was synced, and the log knows: nothing may be silently cut. */
            if (rc == 0 && valid == b.n)
                fail_msg("bit %zu: not detected", bit);
            refused += rc == RC_CORRUPT;
            torn += rc == 0;
        }
    }
    CHECK_INT(torn, 0);
    CHECK_INT(refused, 2 * 4096 * 8);
    buf_fini(&b);
}

TEST(flipped_bits_in_what_was_never_synced_end_the_log_there)
{
    uint64_t ends[PIECES], count, valid;
    struct buf b = one_segment(200, 6000, false, ends, &count);

    for (size_t bit = WAL_HEADER_BYTES * 8; bit < b.n * 8; bit++) {
        uint64_t want = records_within(ends, count, bit / 8);
        struct seen s = {.max = 200};

        b.p[bit / 8] ^= (char)(1 << bit % 8);
        CHECK(wal_segment_scan(buf_view(&b), &first, true, see, &s, &valid, NULL) == 0);
        b.p[bit / 8] ^= (char)(1 << bit % 8);
        if (s.wrong || s.next != want || valid != (want ? ends[want - 1] : WAL_HEADER_BYTES))
            fail_msg("bit %zu", bit);
    }
    buf_fini(&b);
}

static void expect_refusal(const char *part_of_message)
{
    struct seen s = {.max = 100};
    struct wal_replay_stats stats;
    struct err err;

    CHECK_INT(replay(&s, &stats, &err), RC_CORRUPT);
    if (!strstr(err_text(&err), part_of_message))
        fail_msg("\"%s\" is not in: %s", part_of_message, err_text(&err));
}

TEST(segments_of_another_place_and_missing_ones_are_refused)
{
    struct wal *w = open_new();
    struct wal_replay_stats stats = {0};
    struct wal_replay_cfg other = {.dir = dir, .shard = SHARD + 1, .fn = see};
    struct wal_cfg foreign = {.dir = dir, .shard = SHARD, .head_id = HEAD + 1};
    struct buf one, two, three;
    struct seen s = {.max = 100};
    struct err err;

    for (uint64_t i = 0; i < 30; i++) {
        CHECK(record_append(w, i, 100, NULL) == 0);
        if (i % 10 == 9)
            CHECK(wal_rotate(w, NULL) == 0);
    }
    wal_close(w);
    one = slurp("00000001.wal"), two = slurp("00000002.wal"), three = slurp("00000003.wal");
    expect(0, 30, 100);

    spill("00000001.wal", two.p, two.n);
    spill("00000002.wal", one.p, one.n);
    expect_refusal("00000001.wal: this is number 2, not 1");
    spill("00000001.wal", one.p, one.n);
    CHECK(unlink(file("00000002.wal")) == 0);
    expect_refusal("segment 00000002 is missing");
    spill("00000002.wal", two.p, two.n - (9 + 12));
    expect_refusal("00000002");
    spill("00000002.wal", two.p, two.n);
    two.p[100] ^= 1;
    spill("00000002.wal", two.p, two.n);
    expect_refusal("00000002.wal: offset ");
    two.p[100] ^= 1;
    spill("00000002.wal", two.p, two.n);
    CHECK(unlink(file("00000001.wal")) == 0);
    expect_refusal("segment 00000001 is missing");
    spill("00000001.wal", one.p, one.n);
    other.arg = &s;
    CHECK_INT(wal_replay(&other, &stats, &err), RC_CORRUPT);
    CHECK(strstr(err_text(&err), "of shard 3, not 4"));

    s = (struct seen){.max = 100};
    CHECK(replay(&s, &stats, NULL) == 0);
    CHECK_INT(wal_open(&foreign, &stats, &w, &err), RC_INVALID);
    spill("00000004.wal", three.p, three.n); /* grown behind replay's back */
    foreign.head_id = HEAD;
    CHECK_INT(wal_open(&foreign, &stats, &w, &err), RC_INVALID);
    wal_replay_stats_fini(&stats);
    buf_fini(&one);
    buf_fini(&two);
    buf_fini(&three);
}

TEST(segment_cut_at_a_record_that_is_not_the_last_is_refused)
{
    struct wal *w = open_new();
    uint64_t end = 0;
    struct buf one;

    for (uint64_t i = 0; i < 10; i++) {
        CHECK(record_append(w, i, 100, NULL) == 0);
        if (i == 5)
            end = wal_bytes(w);
    }
    CHECK(wal_rotate(w, NULL) == 0);
    wal_close(w);
    one = slurp("00000001.wal");
    spill("00000001.wal", one.p, end);
    expect_refusal("it had");
    buf_fini(&one);
}

/* A checkpoint, as versions before head images wrote it. */
static void checkpoint_spill(uint64_t number, int series)
{
    const struct str payload = STR("\1some labels");
    uint8_t header[WAL_HEADER_BYTES], record[WAL_RECORD_HEADER_BYTES], end[8];
    struct buf b;

    buf_init(&b, 1 << 24);
    wal_header_encode(&(struct wal_header){WAL_KIND_CHECKPOINT, SHARD, number, HEAD, 0}, header);
    buf_add(&b, header, sizeof header);
    wal_record_header(WAL_SERIES, &payload, 1, payload.n, record);
    for (int i = 0; i < series; i++) {
        buf_add(&b, record, sizeof record);
        buf_str(&b, payload);
    }
    le_put64(end, (uint64_t)series);
    wal_record_header(WAL_END, &(struct str){(char *)end, sizeof end}, 1, sizeof end, record);
    buf_add(&b, record, sizeof record);
    buf_add(&b, end, sizeof end);
    CHECK(buf_ok(&b));
    CHECK_INT(fs_write_atomic(file("00000004.checkpoint"), buf_view(&b), NULL), 0);
    buf_fini(&b);
}

static struct wal *six_segments(void)
{
    struct wal *w = open_new();

    for (uint64_t i = 0; i < 60; i++) {
        CHECK(record_append(w, i, 100, NULL) == 0);
        if (i % 10 == 9)
            CHECK(wal_rotate(w, NULL) == 0);
    }
    return w;
}

TEST(a_checkpoint_of_an_older_version_stands_for_the_segments_before_it)
{
    struct wal_replay_stats stats;
    struct seen s = {.next = 30, .max = 100};
    struct err err;
    struct wal *w;

    wal_close(six_segments());
    checkpoint_spill(4, 40000);
    CHECK(replay(&s, &stats, &err) == 0);
    CHECK(!s.wrong && s.next == 60 && s.series == 40000 && stats.checkpoint == 4 && stats.segments.n == 4);
    CHECK(!fs_exists(file("00000003.wal")));
    w = open_after(&stats);
    CHECK(wal_bytes(w) == stats.bytes);
    wal_replay_stats_fini(&stats);
    CHECK_INT(wal_cut(w, 6, &err), 0);
    CHECK(!fs_exists(file("00000004.checkpoint")) && !fs_exists(file("00000005.wal")) && fs_exists(file("00000006.wal")));
    wal_close(w);
}

/* A head image is at a place in the middle. */
struct place {
    struct seen seen;
    struct wal_position at, before;
};
static int see_place(void *arg, enum wal_type type, struct str payload, int64_t *ret_t_max_ms, struct err *err)
{
    struct place *p = arg;

    CHECK(wal_position_cmp(p->at, p->before) > 0);
    p->before = p->at;
    return see(&p->seen, type, payload, ret_t_max_ms, err);
}

TEST(replay_begins_at_the_place_of_an_image_and_what_is_before_can_be_cut)
{
    struct wal_position places[60], end;
    struct wal_replay_stats stats;
    struct wal *w = open_new();
    uint64_t since;

    for (uint64_t i = 0; i < 60; i++) {
        places[i] = wal_end(w);
        CHECK(record_append(w, i, 100, NULL) == 0);
        if (i % 10 == 9)
            CHECK(wal_rotate(w, NULL) == 0);
    }
    end = wal_end(w);
    since = wal_bytes_since(w, places[25]);
    CHECK(since > 34 * 20 && since < wal_bytes(w) * 7 / 10 && wal_bytes_since(w, end) == 0);
    wal_close(w);
    for (int i = 0; i < 60; i++) {
        struct place p = {.seen = {.next = (uint64_t)i, .max = 100}};
        struct wal_replay_cfg cfg = {.dir = dir, .shard = SHARD, .from = places[i], .at = &p.at, .fn = see_place, .arg = &p};

        CHECK_INT(wal_replay(&cfg, &stats, NULL), 0);
        CHECK(!p.seen.wrong && p.seen.next == 60);
        CHECK_INT(stats.segments.n, 7);
        if (i < 59)
            wal_replay_stats_fini(&stats);
    }
    w = open_after(&stats);
    wal_replay_stats_fini(&stats);
    CHECK_INT(wal_cut(w, places[35].segment, NULL), 0);
    CHECK(!fs_exists(file("00000003.wal")) && fs_exists(file("00000004.wal")));
    CHECK(record_append(w, 60, 100, NULL) == 0);
    wal_close(w);
    {
        struct seen s = {.next = 0, .max = 100};
        struct wal_replay_cfg cfg = {.dir = dir, .shard = SHARD, .fn = see, .arg = &s};

        CHECK_INT(wal_replay(&cfg, &stats, NULL), RC_CORRUPT); /* without the image */
        cfg.from = places[25];
        CHECK_INT(wal_replay(&cfg, &stats, NULL), RC_CORRUPT); /* with one that is too old */
        cfg.from = (struct wal_position){6, 1 << 20};
        CHECK_INT(wal_replay(&cfg, &stats, NULL), RC_CORRUPT); /* with one of a longer log */
        cfg.from = (struct wal_position){9, 48};
        CHECK_INT(wal_replay(&cfg, &stats, NULL), RC_CORRUPT);
        cfg.from = places[35];
        s.next = 35;
        CHECK_INT(wal_replay(&cfg, &stats, NULL), 0);
        CHECK(!s.wrong && s.next == 61);
        wal_replay_stats_fini(&stats);
    }
}

TEST(damaged_checkpoint_is_refused_at_every_byte)
{
    struct buf b;

    wal_close(six_segments());
    checkpoint_spill(4, 5);
    b = slurp("00000004.checkpoint");
    for (size_t i = 0; i < b.n; i++) {
        struct wal_header want = {WAL_KIND_CHECKPOINT, SHARD, 4, HEAD, 0};
        struct seen s = {.max = 100};
        uint64_t valid;

        b.p[i] ^= 16;
        CHECK(wal_segment_scan(buf_view(&b), &want, false, see, &s, &valid, NULL) < 0);
        b.p[i] ^= 16;
        CHECK(wal_segment_scan(str_n(b.p, i), &want, false, see, &s, &valid, NULL) == RC_CORRUPT);
    }
    spill("00000004.checkpoint", b.p, b.n - 1);
    expect_refusal("00000004.checkpoint");
    buf_fini(&b);
}

/* --- failures. The steps: append, sync, rotate, cut; acked counts what was answered with
 * success. --- */
#ifdef TORC_DEBUG /* fault points are empty in release */
static uint64_t steps(struct wal *w, uint64_t from, uint64_t n, bool *ret_failed)
{
    uint64_t acked = from;

    for (uint64_t i = from; i < from + n; i++) {
        bool ok = record_append(w, i, 300, NULL) == 0 && wal_sync(w, NULL) == 0;

        if (ok && i % 5 == 4)
            ok = wal_rotate(w, NULL) == 0;
        if (ok)
            acked = i + 1;
        if (ok && i % 10 == 9)
            (void)wal_cut(w, wal_segment(w), NULL);
        *ret_failed |= !ok;
    }
    return acked;
}

/* Whatever happened: replay gives every acknowledged record, in order, and the log goes on. */
static void check_after_failure(uint64_t acked, uint64_t attempted)
{
    struct wal_replay_stats stats;
    struct seen s = {.max = 300};
    struct err err;
    uint64_t samples, begin;
    struct wal *w;

    if (replay_cut(&s, &stats, &err) < 0)
        fail_msg("acked %llu: %s", (unsigned long long)acked, err_text(&err));
    samples = stats.records;
    if (samples == 0)
        s.next = acked;       /* they are cut off, all of them */
    begin = s.next - samples; /* or the first ones */
    CHECK(s.next >= acked && s.next <= attempted);
    CHECK(begin == 0 || stats.segments.v[0].number > 1);
    wal_replay_stats_fini(&stats);
    s = (struct seen){.next = begin, .max = 300};
    CHECK(replay_cut(&s, &stats, &err) == 0);
    CHECK(!s.wrong);
    s.next = begin + samples;
    w = open_after(&stats);
    wal_replay_stats_fini(&stats);
    CHECK(record_append(w, s.next, 300, NULL) == 0);
    wal_close(w);
    CHECK(replay_cut(&s, &stats, &err) == 0);
    wal_replay_stats_fini(&stats);
}

TEST(nth_failing_write_or_sync_loses_nothing_acknowledged_and_kills_the_log)
{
    for (int n = 1;; n++) {
        struct wal *w = open_new();
        bool failed = false, fired;
        uint64_t acked;

        fault_at(FAULT_IO, n);
        acked = steps(w, 0, 25, &failed);
        fired = fault_fired();
        fault_at(0, 0);
        if (failed) {
            CHECK_INT(record_append(w, 99, 300, NULL), RC_IO);
            CHECK_INT(wal_sync(w, NULL), RC_IO);
            CHECK_INT(wal_rotate(w, NULL), RC_IO);
            CHECK(acked < 25);
        } else {
            CHECK_INT(acked, 25);
        }
        wal_close(w);
        check_after_failure(acked, 25);
        CHECK(fs_remove_tree(dir, NULL) == 0);
        if (!fired) {
            CHECK(!failed && n > 60);
            break;
        }
    }
}

TEST(nth_failing_step_of_opening_leaves_the_log_as_it_was)
{
    struct wal *w = open_new();
    bool failed = false;

    CHECK_INT(steps(w, 0, 12, &failed), 12);
    wal_close(w);
    for (int n = 1;; n++) {
        struct seen s = {.next = 10, .max = 300};
        struct wal_cfg cfg = {.dir = dir, .shard = SHARD, .head_id = HEAD};
        struct wal_replay_stats stats = {0};
        bool fired;
        int rc;

        fault_at(FAULT_IO, n);
        rc = replay_cut(&s, &stats, NULL);
        if (rc == 0)
            rc = wal_open(&cfg, &stats, &w, NULL);
        fired = fault_fired();
        fault_at(0, 0);
        wal_replay_stats_fini(&stats);
        CHECK(fired == (rc < 0));
        if (rc == 0)
            wal_close(w);
        s = (struct seen){.next = 10, .max = 300};
        CHECK(replay_cut(&s, &stats, NULL) == 0);
        CHECK(!s.wrong && s.next == 12);
        wal_replay_stats_fini(&stats);
        if (!fired)
            break;
    }
}

TEST(crash_at_any_point_loses_nothing_acknowledged)
{
    bool crashed = true;

    for (int n = 1; crashed; n++) {
        struct wal *w = open_new();
        int pipefd[2], status;
        uint64_t acked = 0, got;
        pid_t child;

        CHECK(pipe(pipefd) == 0);
        child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            bool failed = false;

            fault_at(FAULT_CRASH, n);
            for (uint64_t i = 0; i < 25; i++) {
                acked = steps(w, i, 1, &failed);
                if (write(pipefd[1], &acked, sizeof acked) != sizeof acked)
                    _exit(1);
            }
            _exit(failed);
        }
        close(pipefd[1]);
        while (read(pipefd[0], &got, sizeof got) == sizeof got)
            acked = got;
        close(pipefd[0]);
        CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
        crashed = WEXITSTATUS(status) == 99;
        CHECK(crashed || (WEXITSTATUS(status) == 0 && acked == 25 && n > 30));
        /* The parent's handle on the same file is only let go: a note of its own would be a second
         * writer. */
        check_after_failure(acked, 25);
        wal_close(w);
        CHECK(fs_remove_tree(dir, NULL) == 0);
    }
}
#endif

/* --- threads: one appends and rotates, others sync and cut --- */
struct threads {
    struct wal *w;
    atomic_bool stop;
    atomic_int failed;
};

static void *sync_often(void *arg)
{
    struct threads *t = arg;

    while (!atomic_load(&t->stop))
        if (wal_sync(t->w, NULL) < 0)
            atomic_fetch_add(&t->failed, 1);
    return NULL;
}

static void *cut_often(void *arg)
{
    struct threads *t = arg;

    while (!atomic_load(&t->stop))
        if (wal_cut(t->w, wal_segment(t->w), NULL) < 0 || wal_bytes(t->w) == 0)
            atomic_fetch_add(&t->failed, 1);
    return NULL;
}

TEST(syncs_and_cuts_run_beside_the_appender)
{
    struct threads t = {.w = open_new()};
    pthread_t thread[3];
    struct wal_replay_stats stats;
    struct seen s = {.max = 300};
    uint64_t n = 3000, samples;

    thread[0] = thread_start("sync-1", sync_often, &t);
    thread[1] = thread_start("sync-2", sync_often, &t);
    thread[2] = thread_start("cut", cut_often, &t);
    for (uint64_t i = 0; i < n; i++) {
        CHECK(record_append(t.w, i, 300, NULL) == 0);
        if (i % 100 == 99)
            CHECK(wal_rotate(t.w, NULL) == 0);
        if (i % 50 == 25)
            CHECK(wal_sync(t.w, NULL) == 0);
    }
    CHECK(record_append(t.w, n, 300, NULL) == 0);
    atomic_store(&t.stop, true);
    for (int i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    wal_close(t.w);
    CHECK_INT(atomic_load(&t.failed), 0);
    CHECK(replay_cut(&s, &stats, NULL) == 0);
    samples = stats.records;
    CHECK(s.next == n + 1 && samples >= 1);
    wal_replay_stats_fini(&stats);
    s = (struct seen){.next = n + 1 - samples, .max = 300};
    CHECK(replay_cut(&s, &stats, NULL) == 0);
    CHECK(!s.wrong);
    wal_replay_stats_fini(&stats);
}

/* --- payloads --- */
TEST(payloads_read_back_and_short_ones_are_refused)
{
    enum { N = 11 };
    uint8_t columns[16 * N + 4 * N + 8 * N + 8 * N], accepted[2] = {0x55, 0x05},
                                                     head[WAL_SAMPLES_HEAD];
    struct wal_samples s = {.tenant = STR("acme"), .n = N, .base_ms = 1000, .accepted = accepted},
                       got;
    struct str parts[WAL_SAMPLES_PARTS];
    struct rng r;

    rng_init(&r, test_seed());
    for (size_t i = 0; i < sizeof columns; i++)
        columns[i] = (uint8_t)rng_u64(&r);
    s.fps = columns, s.offsets = columns + 16 * N, s.values = s.offsets + 4 * N;
    for (int starts = 0; starts < 2; starts++) {
        struct buf b;
        size_t n;

        s.starts = starts ? s.values + 8 * N : NULL;
        n = wal_samples_parts(&s, head, parts);
        buf_init(&b, 1 << 20);
        for (size_t i = 0; i < n; i++)
            buf_str(&b, parts[i]);
        CHECK(wal_samples_decode(buf_view(&b), &got, NULL) == 0);
        CHECK(str_eq(got.tenant, s.tenant) && got.n == N && got.base_ms == 1000 &&
              !got.starts == !starts);
        CHECK(memcmp(got.fps, s.fps, 16 * N) == 0 && memcmp(got.values, s.values, 8 * N) == 0 &&
              memcmp(got.offsets, s.offsets, 4 * N) == 0);
        for (uint32_t i = 0; i < N; i++)
            CHECK(wal_samples_accepted(&got, i) == (i % 2 == 0));
        for (size_t cut = 0; cut < b.n; cut++)
            CHECK(wal_samples_decode(str_n(b.p, cut), &got, NULL) < 0);
        b.p[b.n - 1] |= (char)0x80; /* a row that does not exist */
        CHECK(wal_samples_decode(buf_view(&b), &got, NULL) == RC_CORRUPT);
        buf_fini(&b);
    }
}

TEST(lists_and_marks_read_back)
{
    struct label l[2] = {{STR("__name__"), STR("up")}, {STR("job"), STR("a")}};
    struct labels ls = {l, 2}, ls_got;
    struct histogram h = {.schema = 3, .sum = 1.5, .count.i = 7};
    struct wal_histogram hist_got;
    struct wal_exemplar ex;
    struct wal_metadata meta;
    struct wal_mark mark = {12, 34}, mark_got;
    uint8_t mark_bytes[WAL_MARK_BYTES];
    struct wal_list list;
    fingerprint fp = {1, 2}, fp_got;
    struct arena a;
    struct buf b;

    arena_init(&a, 1 << 20);
    buf_init(&b, 1 << 20);
    wal_list_begin(&b, STR("t"), 2);
    wal_series_add(&b, fp, &ls);
    wal_series_add(&b, fp, &ls);
    CHECK(wal_list_open(buf_view(&b), &list, NULL) == 0 && list.left == 2 &&
          str_eqz(list.tenant, "t"));
    for (int i = 0; i < 2; i++) {
        CHECK(wal_series_next(&list, &a, &fp_got, &ls_got, NULL) == 1);
        CHECK(u128_eq(fp, fp_got) && labels_eq(&ls, &ls_got));
    }
    CHECK(wal_series_next(&list, &a, &fp_got, &ls_got, NULL) == 0);
    for (size_t cut = 0; cut < b.n; cut++) {
        int rc = wal_list_open(str_n(b.p, cut), &list, NULL);

        while (rc == 0 && (rc = wal_series_next(&list, &a, &fp_got, &ls_got, NULL)) == 1)
            rc = 0;
        CHECK(rc < 0);
    }
    buf_clear(&b);
    wal_list_begin(&b, STR("t"), 1);
    wal_histogram_add(&b, fp, 5, 6, &h);
    CHECK(wal_list_open(buf_view(&b), &list, NULL) == 0);
    CHECK(wal_histogram_next(&list, &a, &hist_got, NULL) == 1 && hist_got.t == 5 &&
          hist_got.st == 6 && histogram_eq(&h, &hist_got.h));
    CHECK(wal_histogram_next(&list, &a, &hist_got, NULL) == 0);
    buf_clear(&b);
    wal_list_begin(&b, STR("t"), 1);
    wal_exemplar_add(&b, fp, 5, -0.0, &ls);
    CHECK(wal_list_open(buf_view(&b), &list, NULL) == 0);
    CHECK(wal_exemplar_next(&list, &a, &ex, NULL) == 1 && ex.t == 5 &&
          double_bits(ex.v) == 1ULL << 63 && labels_eq(&ex.labels, &ls));
    CHECK(wal_exemplar_next(&list, &a, &ex, NULL) == 0);
    buf_clear(&b);
    wal_list_begin(&b, STR("t"), 1);
    wal_metadata_add(&b, STR("up"), 2, STR("is it up"), STR(""));
    CHECK(wal_list_open(buf_view(&b), &list, NULL) == 0);
    CHECK(wal_metadata_next(&list, &meta, NULL) == 1 && str_eqz(meta.metric, "up") &&
          meta.type == 2 && str_eqz(meta.help, "is it up"));
    CHECK(wal_metadata_next(&list, &meta, NULL) == 0);
    CHECK(wal_mark_decode(wal_mark_encode(&mark, mark_bytes), &mark_got, NULL) == 0 &&
          mark_got.set_id == 12 && mark_got.value == 34);
    CHECK(wal_mark_decode(str_n(mark_bytes, 16), &mark_got, NULL) == RC_CORRUPT);
    mark_bytes[0] = 9;
    CHECK(wal_mark_decode(str_n(mark_bytes, sizeof mark_bytes), &mark_got, NULL) == RC_VERSION);
    buf_fini(&b);
    arena_fini(&a);
}
