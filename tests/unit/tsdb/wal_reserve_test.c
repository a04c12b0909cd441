/* A log on a disk that is full: told before anything is written, alive afterwards, whole when it is replayed. On a small tmpfs where the test may mount one. */
#include "common/base/fault.h"
#include "common/sys/fs.h"
#include "tests/test.h"
#include "tsdb/wal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SHARD = 3, HEAD = 0x1234, RECORD = 40000 };

static const char *where(const char *name)
{
    static char path[300];

    snprintf(path, sizeof path, "%s/%s", test_tmpdir(), name);
    return path;
}

struct counted {
    uint64_t records;
    bool wrong;
};

static int count(void *arg, UNUSED enum wal_type type, struct str payload, UNUSED int64_t *ret_t_max_ms, UNUSED struct err *err)
{
    struct counted *c = arg;

    c->wrong |= payload.n == 0 || payload.p[0] != (char)c->records || payload.p[payload.n - 1] != (char)c->records;
    c->records++;
    return 0;
}

static uint64_t replayed(const char *dir, struct wal_replay_stats *stats)
{
    struct counted c = {0};
    struct wal_replay_cfg cfg = {.dir = dir, .shard = SHARD, .fn = count, .arg = &c};

    CHECK_INT(wal_replay(&cfg, stats, NULL), 0);
    CHECK(!c.wrong && stats->torn_bytes == 0);
    return c.records;
}

static struct wal *open_log(const char *dir)
{
    struct wal_cfg cfg = {.dir = dir, .shard = SHARD, .head_id = HEAD};
    struct wal_replay_stats stats = {0};
    struct wal *w;

    replayed(dir, &stats);
    CHECK_INT(wal_open(&cfg, &stats, &w, NULL), 0);
    wal_replay_stats_fini(&stats);
    return w;
}

static int append(struct wal *w, uint64_t number, size_t n)
{
    char *bytes = malloc(n);
    struct str part = str_n(bytes, n);
    int rc;

    memset(bytes, (char)number, n);
    rc = wal_append(w, WAL_SAMPLES, &part, 1, INT64_MIN, NULL);
    free(bytes);
    return rc;
}

static void expect(const char *dir, uint64_t records)
{
    struct wal_replay_stats stats = {0};

    CHECK_INT(replayed(dir, &stats), records);
    wal_replay_stats_fini(&stats);
}

static struct stat stat_of(const char *path)
{
    struct stat st = {0};

    CHECK_INT(stat(path, &st), 0);
    return st;
}

TEST(no_room_is_told_and_the_log_lives_on)
{
    const char *dir = strdup(where("told"));
    struct wal *w = open_log(dir);

    fault_at(FAULT_IO, 1);
    CHECK_INT(wal_reserve(w, RECORD, NULL), RC_UNAVAILABLE);
    CHECK(fault_fired());
    fault_at(0, 0);
    CHECK_INT(wal_reserve(w, RECORD, NULL), 0);
    CHECK_INT(append(w, 0, RECORD), 0);
    CHECK_INT(wal_sync(w, NULL), 0);
    wal_close(w);
    expect(dir, 1);
    free((char *)dir);
}

TEST(room_is_no_part_of_the_log)
{
    char *dir = strdup(where("room")), file[320];
    struct wal *w = open_log(dir);
    off_t empty;

    snprintf(file, sizeof file, "%s/00000001.wal", dir);
    empty = stat_of(file).st_size;
    CHECK_INT(wal_reserve(w, RECORD, NULL), 0);
    CHECK(stat_of(file).st_size == empty);
    CHECK(stat_of(file).st_blocks * 512 >= WAL_RESERVE_BYTES);
    CHECK_INT(append(w, 0, RECORD), 0);
    CHECK((uint64_t)stat_of(file).st_size == wal_bytes(w));
    expect(dir, 1); /* as a killed process leaves it */
    wal_close(w);
    CHECK(stat_of(file).st_blocks * 512 < WAL_RESERVE_BYTES);
    expect(dir, 1);
    free(dir);
}

/* Adds so many bytes to the file, or as many as there is room for. */
static void fill(const char *path, size_t n)
{
    static char piece[4096];
    FILE *f = fopen(path, "a");

    CHECK(f);
    for (; n >= sizeof piece && fwrite(piece, 1, sizeof piece, f) == sizeof piece && fflush(f) == 0; n -= sizeof piece)
        ;
    fclose(f);
}

TEST(a_small_disk_takes_what_was_promised_and_not_a_byte_is_torn)
{
    char *disk = strdup(where("disk")), dir[320], filler[320];
    uint64_t n = 0;
    struct wal *w;

    CHECK_INT(mkdir(disk, 0755), 0);
    if (mount("none", disk, "tmpfs", 0, "size=4m") != 0) {
        printf("no mount (%s): not shown here\n", strerror(errno));
        free(disk);
        return;
    }
    snprintf(dir, sizeof dir, "%s/wal", disk);
    snprintf(filler, sizeof filler, "%s/filler", disk);
    w = open_log(dir);
    fill(filler, 1 << 20);
    while (wal_reserve(w, RECORD + 64, NULL) == 0)
        CHECK_INT(append(w, n++, RECORD), 0);
    CHECK(n >= 60); /* nearly all that was left is used */
    CHECK_INT(append(w, n++, 1000), 0); /* upkeep has its share */
    fill(filler, 4 << 20);
    CHECK_INT(append(w, n++, 1000), 0);
    CHECK_INT(wal_rotate(w, NULL), RC_UNAVAILABLE);
    CHECK_INT(append(w, n++, 1000), 0);
    CHECK_INT(wal_sync(w, NULL), 0);
    expect(dir, n);
    CHECK_INT(unlink(filler), 0);
    CHECK_INT(wal_reserve(w, RECORD, NULL), 0);
    CHECK_INT(append(w, n++, RECORD), 0);
    CHECK_INT(wal_rotate(w, NULL), 0);
    CHECK_INT(append(w, n++, 1000), 0);
    wal_close(w);
    expect(dir, n);
    CHECK_INT(umount(disk), 0);
    free(disk);
}
