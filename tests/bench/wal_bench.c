/* Write-ahead log: ns to append one record of a shard's part of a push, and per row; then syncs,
 * and replay.
 *   wal_bench [directory, default /tmp] [rows, default 2000] */
#include "common/base/rng.h"
#include "common/sys/clock.h"
#include "common/sys/fs.h"
#include "tsdb/wal_payload.h"

#include <stdio.h>
#include <stdlib.h>

enum { RECORDS = 4000 };

static double seconds(void)
{
    return (double)clock_mono_ns(clock_system()) * 1e-9;
}

static int count_rows(void *arg, UNUSED enum wal_type type, struct str payload,
                      int64_t *ret_t_max_ms, struct err *err)
{
    struct wal_samples s;
    int rc = wal_samples_decode(payload, &s, err);

    if (rc < 0)
        return rc;
    *(uint64_t *)arg += s.n;
    *ret_t_max_ms = s.base_ms;
    return 0;
}

static double append_all(struct wal *w, const struct wal_samples *s, int sync_every,
                         double *ret_slowest)
{
    double began = seconds();

    *ret_slowest = 0;
    for (int i = 0; i < RECORDS; i++) {
        uint8_t head[WAL_SAMPLES_HEAD];
        struct str parts[WAL_SAMPLES_PARTS];
        double one = seconds();

        ASSERT(wal_append(w, WAL_SAMPLES, parts, wal_samples_parts(s, head, parts), s->base_ms,
                          NULL) == 0);
        if (sync_every && i % sync_every == 0)
            ASSERT(wal_sync(w, NULL) == 0);
        *ret_slowest = MAX(*ret_slowest, seconds() - one);
    }
    return seconds() - began;
}

int main(int argc, char **argv)
{
    uint32_t rows = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 2000;
    uint8_t *columns = xmalloc(29 * (size_t)rows), *bitmap = columns + 28 * (size_t)rows;
    struct wal_samples s = {
        .tenant = STR("anonymous"), .n = rows, .base_ms = 1700000000000, .fps = columns};
    struct wal_replay_stats stats = {0};
    uint64_t replayed = 0, bytes;
    double took, slowest;
    struct wal *w;
    struct rng r;
    char dir[256];

    if (rows < 8 || rows > WAL_ROWS_MAX)
        return 2;
    rng_init(&r, 1);
    for (size_t i = 0; i < 28 * (size_t)rows; i++)
        columns[i] = (uint8_t)rng_u64(&r);
    memset(bitmap, 0, rows);
    memset(bitmap, 0xff, rows / 8);
    s.offsets = columns + 16 * (size_t)rows, s.values = s.offsets + 4 * (size_t)rows,
    s.accepted = bitmap;
    snprintf(dir, sizeof dir, "%s/torc-wal-bench", argc > 1 ? argv[1] : "/tmp");
    ASSERT(fs_remove_tree(dir, NULL) == 0);
    ASSERT(wal_open(&(struct wal_cfg){.dir = dir, .head_id = 1}, &stats, &w, NULL) == 0);
    took = append_all(w, &s, 0, &slowest);
    printf("append: %.0f ns a record of %u rows, %.1f ns a row, slowest %.1f ms\n",
           took / RECORDS * 1e9, rows, took / RECORDS / rows * 1e9, slowest * 1e3);
    took = append_all(w, &s, 100, &slowest);
    printf("append, a sync every 100 records: %.0f ns a record, slowest %.1f ms\n",
           took / RECORDS * 1e9, slowest * 1e3);
    bytes = wal_bytes(w);
    wal_close(w);
    took = seconds();
    ASSERT(wal_replay(&(struct wal_replay_cfg){.dir = dir, .fn = count_rows, .arg = &replayed},
                      &stats, NULL) == 0);
    took = seconds() - took;
    ASSERT(replayed == 2ULL * RECORDS * rows);
    printf("replay: %.0f MB/s, %.1f ns a row\n", (double)bytes / took / 1e6,
           took / (double)replayed * 1e9);
    wal_replay_stats_fini(&stats);
    ASSERT(fs_remove_tree(dir, NULL) == 0);
    free(columns);
    return 0;
}
