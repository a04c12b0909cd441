/* Head images of an ingester: a restart from one has exactly what was accepted, whatever was going on while it was written and whatever failed. */
#include "ingester/image.h"
#include "tests/component/ingester/ingester_util.h"

#include <fcntl.h>

static void images(struct fixture *f)
{
    ingester_images_write(f->in, 1);
    CHECK_INT(ingester_ready(f->in, NULL), 0);
}

static uint64_t image_bytes(struct fixture *f)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < f->in->shard_count; i++)
        n += atomic_load(&f->in->wal_dirs.v[i].image_total);
    return n;
}

TEST(a_restart_from_an_image_has_exactly_what_was_accepted)
{
    struct fixture f = {.shards = 2};
    truth t = {0};

    start(&f, "restart");
    images(&f); /* of nothing */
    push_mixture(&f, &t);
    images(&f);
    restart(&f);
    CHECK(image_bytes(&f) > 0);
    check_memory(&f, &t, 0);
    for (int i = 0; i < 3; i++) {
        push_one(&f, &t, &(struct item){.series = 1, .t = T0 + 9600000 + i, .bits = (uint64_t)i}, NO_LABELS, PUSH_ACCEPTED);
        push_one(&f, &t, &(struct item){.series = (uint16_t)(500 + i), .t = T0 + i, .bits = 1}, WITH_LABELS, PUSH_ACCEPTED);
        if (i != 1)
            images(&f);
        /* Behind the image, before the restart. */
        push_one(&f, &t, &(struct item){.series = 2, .t = T0 + 9700000 + i, .bits = 7}, NO_LABELS, PUSH_ACCEPTED);
        restart(&f);
        check_memory(&f, &t, 0);
        CHECK_INT(metadata_rows(&f), 2);
    }
    finish(&f);
    vec_fini(&t);
}

/* The head's id only tells distributors whether labels must come again: with another one, as flipped bits make it, all that was accepted is there, and images
 * made from then on are read. A text that is no id is refused. */
TEST(flipped_bits_of_the_head_id_are_refused_or_change_nothing)
{
    struct fixture f = {.shards = 2};
    truth t = {0};
    char path[300], text[17] = "";
    size_t refused = 0;

    start(&f, "head-id");
    push_mixture(&f, &t);
    snprintf(path, sizeof path, "%s/head.id", f.in->data_dir);
    for (int bit = 0; bit < 128; bit += 3) {
        FILE *file = fopen(path, "r+b");

        CHECK(file && fread(text, 1, 16, file) == 16);
        text[bit / 8] ^= (char)(1 << bit % 8);
        if (strspn(text, "0123456789abcdef") != 16) {
            refused++;
            fclose(file);
            continue;
        }
        rewind(file);
        CHECK(fwrite(text, 1, 16, file) == 16);
        fclose(file);
        restart(&f);
        check_memory(&f, &t, 0);
        push_one(&f, &t, &(struct item){.series = 1, .t = T0 + 9600000 + bit, .bits = (uint64_t)bit}, NO_LABELS, PUSH_ACCEPTED);
        images(&f);
    }
    restart(&f);
    check_memory(&f, &t, 0);
    CHECK(refused > 10);
    finish(&f);
    vec_fini(&t);
}

TEST(the_replay_page_says_how_much_was_read)
{
    struct fixture f = {.shards = 2};
    struct buf json, html;
    truth t = {0};

    start(&f, "page");
    push_mixture(&f, &t);
    images(&f);
    push_one(&f, &t, &(struct item){.series = 1, .t = T0 + 9600000, .bits = 1}, NO_LABELS, PUSH_ACCEPTED);
    restart(&f);
    buf_init(&json, 1 << 16);
    buf_init(&html, 1 << 16);
    ingester_write_replay_json(f.in, &json);
    ingester_write_replay_html(f.in, &html);
    CHECK(text_has(buf_view(&json), "{\"state\":\"serving\",\"bytes_done\":"));
    CHECK(text_has(buf_view(&json), "\"percent\":100,") && text_has(buf_view(&json), "\"seconds_left\":0.0,"));
    CHECK(text_has(buf_view(&json), "\"shard\":1,\"image_bytes_done\":") && !text_has(buf_view(&json), "\"image_bytes_total\":0"));
    CHECK(text_has(buf_view(&html), "<h1>Replay</h1>\n<p>serving, 100 %") && text_has(buf_view(&html), "<td>0001-02/0001"));
    buf_fini(&json);
    buf_fini(&html);
    finish(&f);
    vec_fini(&t);
}

TEST(flush_sets_go_on_where_they_were)
{
    struct fixture f = {.shards = 2};
    truth t = {0};

    start(&f, "sets");
    push_mixture(&f, &t);
    CHECK_INT(ingester_flush_all(f.in, NULL, NULL, NULL), 0);
    images(&f);
    restart(&f);
    check_all(&f, &t);
    push_ballast(&f, &t, 20);
    CHECK_INT(ingester_flush_all(f.in, NULL, NULL, NULL), 0);
    images(&f);
    f.drops = true;
    restart(&f);
    wait_dropped(&f);
    check_all(&f, &t);
    push_one(&f, &t, &(struct item){.series = 1, .t = T0 + 34000000, .bits = 3}, ANY_LABELS, PUSH_ACCEPTED);
    restart(&f);
    check_all(&f, &t);
    finish(&f);
    vec_fini(&t);
}

TEST(a_changed_shard_count_takes_images_along)
{
    static const uint32_t counts[] = {2, 3, 1, 4};
    struct fixture f = {.shards = 2};
    truth t = {0};

    start(&f, "shards");
    push_mixture(&f, &t);
    for (size_t i = 1; i < ARRAY_LEN(counts); i++) {
        images(&f);
        push_one(&f, &t, &(struct item){.series = 1, .t = T0 + 9600000 + (int64_t)i, .bits = i}, ANY_LABELS, PUSH_ACCEPTED);
        f.shards = counts[i];
        restart(&f);
        check_all(&f, &t);
        CHECK_INT(metadata_rows(&f), 2);
    }
    finish(&f);
    vec_fini(&t);
}

/* --- beside pushes --- */
struct beside {
    struct fixture *f;
    atomic_bool stop;
    atomic_int rounds;
};

static void *images_often(void *arg)
{
    struct beside *b = arg;

    while (!atomic_load(&b->stop)) {
        ingester_images_write(b->f->in, 1);
        atomic_fetch_add(&b->rounds, 1);
    }
    return NULL;
}

/* Rows of every kind come while series are being written out: each counts once. */
TEST(images_beside_pushes_lose_and_double_nothing)
{
    struct fixture f = {.shards = 2};
    truth t = {0};

    start(&f, "beside");
    for (int round = 0; round < 4; round++) {
        struct beside b = {.f = &f};
        pthread_t thread = thread_start("images", images_often, &b);

        if (round == 0)
            push_mixture(&f, &t);
        for (int i = 0; i < 60 || atomic_load(&b.rounds) < 5; i++) {
            int64_t at = T0 + 9800000 + round * 2000000 + i * 20000;
            struct item floats[SERIES * 2], hists[SERIES / 4];
            size_t n = 0, m = 0;

            for (uint16_t s = 0; s < SERIES; s++) {
                floats[n++] = (struct item){at + s, (uint64_t)i * s, s, 0, false};
                if ((s + i) % 7 == 0)
                    floats[n++] = (struct item){at - 15000 - s, (uint64_t)i, s, 0, false}; /* late */
                if (s % 4 == 0)
                    hists[m++] = (struct item){at + 600, (uint64_t)i + 1, (uint16_t)(SERIES + s), 0, true};
            }
            push_rows(&f, &t, floats, n, hists, m, i == 0);
        }
        atomic_store(&b.stop, true);
        pthread_join(thread, NULL);
        restart(&f);
        check_memory(&f, &t, 0);
    }
    finish(&f);
    vec_fini(&t);
}

TEST(the_log_stays_below_its_limit)
{
    struct fixture f = {.shards = 2};
    truth t = {0};

    start(&f, "limit");
    push_mixture(&f, &t);
    f.in->cfg.image_log_bytes = 64 << 10;
    for (int i = 0; i < 10; i++) {
        for (int k = 0; k < 200; k++) {
            struct item one = {.series = 1, .t = T0 + 12000000 + i * 1000 + k, .bits = (uint64_t)k};

            push_one(&f, &t, &one, ANY_LABELS, PUSH_ACCEPTED);
        }
    }
    for (;;) {
        uint64_t tail = 0;

        mutex_lock(&f.in->marks_lock);
        for (uint32_t i = 0; i < 2; i++)
            tail += f.in->images[i].imager ? wal_bytes_since(shard_wal(f.in->shards[i]), head_imager_position(f.in->images[i].imager))
                                           : wal_bytes(shard_wal(f.in->shards[i]));
        mutex_unlock(&f.in->marks_lock);
        if (tail < 64 << 10)
            break;
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    CHECK(f.in->images[0].imager || f.in->images[1].imager);
    restart(&f);
    check_memory(&f, &t, 0);
    finish(&f);
    vec_fini(&t);
}

/* --- damage --- */
/* Changes a byte of the newest file with this suffix in the first shard's directory. */
static void damage(struct fixture *f, const char *suffix, bool all)
{
    const char *dir = f->in->wal_dirs.v[0].path;
    fs_names names;

    CHECK_INT(fs_list(dir, &names, NULL), 0);
    for (size_t i = names.n; i > 0; i--) {
        char path[512], byte;
        int fd;

        if (!strstr(names.v[i - 1], suffix))
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, names.v[i - 1]);
        fd = open(path, O_RDWR);
        CHECK(fd >= 0 && pread(fd, &byte, 1, 70) == 1);
        byte ^= 1;
        CHECK(pwrite(fd, &byte, 1, 70) == 1);
        close(fd);
        if (!all)
            break;
    }
    fs_names_free(&names);
}

TEST(a_damaged_image_gives_way_to_the_one_before)
{
    static const char *const files[] = {".image", ".state", ".chunks", ".series"};

    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        struct fixture f = {.shards = 1};
        truth t = {0};
        char name[32];

        snprintf(name, sizeof name, "damage-%zu", i);
        start(&f, name);
        push_mixture(&f, &t);
        images(&f);
        push_rows(&f, &t, &(struct item){T0 + 20000000, 1, 600, 0, false}, 1, NULL, 0, true);
        push_one(&f, &t, &(struct item){T0 + 20000000, 1, 1, 0, false}, NO_LABELS, PUSH_ACCEPTED); /* closes a window */
        images(&f);
        push_one(&f, &t, &(struct item){T0 + 20000001, 1, 1, 0, false}, NO_LABELS, PUSH_ACCEPTED);
        damage(&f, files[i], false);
        restart(&f);
        check_memory(&f, &t, 0);
        images(&f);
        restart(&f);
        check_memory(&f, &t, 0);
        finish(&f);
        vec_fini(&t);
    }
}

TEST(without_any_readable_image_a_cut_log_is_refused_with_advice)
{
    struct fixture f = {.shards = 1};
    struct ingester *in;
    struct ingester_cfg cfg = ingester_cfg_default;
    truth t = {0};
    char data[256];
    struct err err;

    start(&f, "refused");
    push_mixture(&f, &t);
    images(&f);
    rotate_logs(&f);
    images(&f);
    rotate_logs(&f);
    images(&f);
    damage(&f, ".image", true);
    finish(&f);
    f.log = log_new(2, (enum log_level)(LOG_ERROR + 1), LOG_LOGFMT);
    f.metrics = metrics_new();
    snprintf(data, sizeof data, "%s/refused/data", dir_root());
    cfg.data_dir = data;
    cfg.instance_id = "ingester-0";
    cfg.shards = 1;
    CHECK_INT(ingester_new(&cfg, &(struct ingester_deps){.clock = clock_system(), .log = f.log, .metrics = f.metrics}, &in, NULL), 0);
    CHECK_INT(ingester_start(in, NULL), 0);
    while (atomic_load(&in->state) == INGESTER_REPLAYING)
        sched_yield();
    CHECK_INT(atomic_load(&in->state), INGESTER_FAILED);
    CHECK_INT(ingester_ready(in, &err), RC_UNAVAILABLE);
    CHECK(strstr(err_text(&err), "without a readable head image") && strstr(err_text(&err), "move this directory away"));
    ingester_free(in);
    metrics_free(f.metrics);
    log_free(f.log);
    vec_fini(&t);
}

/* --- crashes and failing disks --- */
static void images_and_flush(struct fixture *f)
{
    ingester_images_write(f->in, 1);
    rotate_logs(f);
    ingester_images_write(f->in, 1);
    CHECK_INT(ingester_flush_all(f->in, NULL, NULL, NULL), 0);
    rotate_logs(f);
    ingester_images_write(f->in, 1);
}

__attribute__((constructor)) static void be_child(void)
{
    const char *name = getenv("INGESTER_TEST_CRASH");
    struct fixture f = {.shards = 2};

    if (!name)
        return;
    unsetenv("INGESTER_TEST_CRASH");
    use_tmpdir(getenv("INGESTER_TEST_DIR"));
    start(&f, name);
    fault_at(FAULT_CRASH, atol(getenv("INGESTER_TEST_AT")));
    images_and_flush(&f);
    f.drops = true;
    restart(&f);
    wait_dropped(&f);
    finish(&f);
    _exit(0);
}

TEST(a_crash_at_any_step_of_an_image_leaves_every_sample_readable_once)
{
    unsigned crashed = 0;
    int code = 99;

    for (long at = 1; code != 0; at++) {
        struct fixture f = {.shards = 2};
        truth t = {0};
        char name[32];

        snprintf(name, sizeof name, "crash-%ld", at);
        start(&f, name);
        push_mixture(&f, &t);
        finish(&f);
        code = spawn_child(name, at);
        CHECK(code == 0 || code == 99);
        crashed += code == 99;
        start(&f, name);
        check_all(&f, &t);
        push_one(&f, &t, &(struct item){.series = 1, .t = T0 + 34000000, .bits = 3}, ANY_LABELS, PUSH_ACCEPTED);
        images(&f);
        restart(&f);
        check_all(&f, &t);
        finish(&f);
        vec_fini(&t);
    }
    CHECK(crashed >= 30);
}

/* A full disk at any place: the images before and the log stay, nothing is lost, and the next image is whole. */
TEST(an_image_that_fails_at_any_place_can_be_repeated)
{
    struct fixture f = {.shards = 2};
    unsigned failed = 0;
    truth t = {0};
    bool fired = true;

    for (long at = 1; fired; at += 1 + at / 20) {
        char name[32];

        snprintf(name, sizeof name, "fail-%ld", at);
        vec_clear(&t);
        start(&f, name);
        push_mixture(&f, &t);
        ingester_images_write(f.in, 1);
        push_rows(&f, &t, &(struct item){T0 + 20000000, 1, 600, 0, false}, 1, NULL, 0, true);
        push_one(&f, &t, &(struct item){T0 + 20000000, 1, 1, 0, false}, NO_LABELS, PUSH_ACCEPTED);
        fault_at(FAULT_IO, at);
        ingester_images_write(f.in, 1);
        fired = fault_fired();
        fault_at(0, 0);
        failed += f.in->images[0].retry_mono_ms || f.in->images[1].retry_mono_ms;
        if (at % 2 == 0 && ingester_ready(f.in, NULL) == 0) {
            push_one(&f, &t, &(struct item){T0 + 20000001, 1, 1, 0, false}, NO_LABELS, PUSH_ACCEPTED);
            images(&f);
        }
        restart(&f);
        check_memory(&f, &t, 0);
        push_one(&f, &t, &(struct item){T0 + 20000002, 1, 1, 0, false}, NO_LABELS, PUSH_ACCEPTED);
        images(&f);
        restart(&f);
        check_memory(&f, &t, 0);
        finish(&f);
    }
    CHECK(failed >= 20);
    vec_fini(&t);
}
