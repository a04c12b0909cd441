#include "common/base/json.h"
#include "common/obs/log.h"
#include "tests/test.h"

#include <fcntl.h>
#include <jansson.h>
#include <unistd.h>

static int fds[2];

static struct log *open_log(enum log_level level, enum log_format format)
{
    CHECK(pipe(fds) == 0);
    CHECK(fcntl(fds[1], F_SETPIPE_SZ, 1 << 20) > 0);
    return log_new(fds[1], level, format);
}

static char *close_log(struct log *l)
{
    static char text[256 << 10];
    size_t n = 0;
    ssize_t got;

    log_free(l);
    close(fds[1]);
    while ((got = read(fds[0], text + n, sizeof text - 1 - n)) > 0)
        n += (size_t)got;
    close(fds[0]);
    text[n] = '\0';
    return text;
}

TEST(logfmt_quotes_only_what_needs_it)
{
    struct log *l = open_log(LOG_INFO, LOG_LOGFMT);
    char *text;

    log_info(l, "block shipped", "tenant", "acme", "n", log_i64(-3), "f", log_f64(0.25), "e", "",
             "q", "a\"b=\n", "z", (char *)NULL);
    text = close_log(l);
    CHECK(strncmp(text, "ts=20", 5) == 0);
    CHECK(strstr(text, "Z level=info caller=log_test.c:"));
    CHECK(strstr(
        text, " msg=\"block shipped\" tenant=acme n=-3 f=0.25 e=\"\" q=\"a\\\"b=\\n\" z=null\n"));
}

TEST(json_lines_parse_and_carry_the_same_keys)
{
    struct log *l = open_log(LOG_DEBUG, LOG_JSON);
    json_t *root;
    char *text;

    log_error(l, "no \"luck\"", "bytes", "\x01\xff\xc3\xa4");
    text = close_log(l);
    root = json_loads(text, 0, NULL);
    CHECK(root != NULL);
    CHECK_STR(json_string_value(json_object_get(root, "level")), "error");
    CHECK_STR(json_string_value(json_object_get(root, "msg")), "no \"luck\"");
    CHECK_STR(json_string_value(json_object_get(root, "bytes")), "\x01\xef\xbf\xbd\xc3\xa4");
    json_decref(root);
}

TEST(levels_below_the_threshold_are_silent_and_a_null_log_is_fine)
{
    struct log *l = open_log(LOG_WARN, LOG_LOGFMT);
    char *text;

    log_info(l, "hidden");
    log_set_level(l, LOG_DEBUG);
    log_debug(l, "shown");
    log_error((struct log *)NULL, "nowhere");
    text = close_log(l);
    CHECK(!strstr(text, "hidden"));
    CHECK(strstr(text, "msg=shown\n"));
}

TEST(a_line_has_a_ceiling_and_stays_well_formed)
{
    struct log *l = open_log(LOG_INFO, LOG_JSON);
    char *big = malloc(20001), *text;
    json_t *root;

    memset(big, '\x01', 20000); /* six bytes each once escaped */
    big[20000] = '\0';
    log_info(l, "big", "a", big, "b", big, "c", "end");
    text = close_log(l);
    CHECK(strlen(text) <= 32 << 10);
    root = json_loads(text, 0, NULL);
    CHECK(root != NULL);
    CHECK(json_string_length(json_object_get(root, "a")) == 4096);
    CHECK(!json_object_get(root, "b"));
    CHECK_STR(json_string_value(json_object_get(root, "c")), "end");
    json_decref(root);
    free(big);
}

TEST(limited_lines_come_once_a_second_and_count_the_silent_ones)
{
    struct log_gate gate = {0};

    CHECK(log_gate_open(&gate));
    CHECK(log_gate_suppressed(&gate) == 0);
    for (int i = 0; i < 5; i++)
        CHECK(!log_gate_open(&gate));
    gate.next_ns = 0; /* the second has passed */
    CHECK(log_gate_open(&gate));
    CHECK(log_gate_suppressed(&gate) == 5);
}
