#include "common/config/config.h"
#include "tests/test.h"

#include <jansson.h>

static const char *const syncs[] = {"interval", "always", NULL};

struct cfg {
    bool on;
    int64_t port, age_ms;
    uint64_t bytes;
    double ratio;
    int sync;
    char *dir, *secret, *target;
    struct opt_list zones;
};

static const struct option table[] = {
    {"target", OPT_STRING, offsetof(struct cfg, target), .def = "all", .doc = "What to run."},
    {"server.http-port", OPT_INT, offsetof(struct cfg, port), .def = "9009", .min = "0",
     .max = "65535", .doc = "Port."},
    {"server.on", OPT_BOOL, offsetof(struct cfg, on), .doc = "On."},
    {"wal.sync", OPT_ENUM, offsetof(struct cfg, sync), .values = syncs, .def = "interval",
     .doc = "Sync."},
    {"wal.dir", OPT_STRING, offsetof(struct cfg, dir), .def = "./data", .doc = "Dir."},
    {"wal.segment.bytes", OPT_BYTES, offsetof(struct cfg, bytes), .def = "64MiB", .min = "1KiB",
     .doc = "Bytes."},
    {"head.max-age", OPT_DURATION, offsetof(struct cfg, age_ms), .def = "2h", .min = "1m",
     .max = "24h", .doc = "Age."},
    {"head.ratio", OPT_FLOAT, offsetof(struct cfg, ratio), .def = "0.5", .min = "0", .max = "1",
     .doc = "Ratio."},
    {"s3.secret-key", OPT_STRING, offsetof(struct cfg, secret), .secret = true, .doc = "Key."},
    {"ring.zones", OPT_LIST, offsetof(struct cfg, zones), .def = "a,b", .doc = "Zones."},
    {0},
};

static struct cfg cfg;

static struct config *fresh(void)
{
    struct config *c = config_new();

    memset(&cfg, 0, sizeof cfg);
    config_add(c, "", table, &cfg);
    return c;
}

static int load(struct config *c, const char *text, struct err *err)
{
    return config_load_yaml(c, "t.yaml", str_of(text), err);
}

TEST(defaults_come_from_the_table)
{
    struct config *c = fresh();

    CHECK_INT(cfg.port, 9009);
    CHECK(!cfg.on);
    CHECK_INT(cfg.age_ms, 7200000);
    CHECK(cfg.bytes == 64 << 20);
    CHECK(cfg.ratio == 0.5);
    CHECK_STR(cfg.dir, "./data");
    CHECK_STR(cfg.secret, "");
    CHECK(cfg.zones.n == 2);
    config_free(c);
}

TEST(a_file_sets_every_type)
{
    struct config *c = fresh();
    struct err err = {0};

    if (load(c,
             "target: querier\nserver:\n  http_port: 1\n  \"on\": true\nwal: {sync: always, dir: "
             "\"a b\", segment: {bytes: 2KB}}\n"
             "head:\n  max-age: 1h30m\n  ratio: 1e-1\nring:\n  zones: [x, 'y z', \"\"]\ns3:\n",
             &err) < 0)
        fail_msg("%s", err_text(&err));
    CHECK_INT(cfg.port, 1);
    CHECK(cfg.on);
    CHECK_INT(cfg.sync, 1);
    CHECK_STR(cfg.dir, "a b");
    CHECK(cfg.bytes == 2000);
    CHECK_INT(cfg.age_ms, 5400000);
    CHECK(cfg.ratio == 0.1);
    CHECK(cfg.zones.n == 3);
    CHECK_STR(cfg.zones.v[1], "y z");
    CHECK_STR(cfg.target, "querier");
    config_free(c);
}

static const struct {
    const char *text, *want;
} bad[] = {
    {"\nserver:\n  http-prot: 1\n",
     "t.yaml:3: unknown option \"server.http-prot\", did you mean \"server.http-port\"?"},
    {"sevrer:\n  http-port: 1\n", "t.yaml:1: unknown option \"sevrer\", did you mean \"server\"?"},
    {"quite_something_else: 1\n", "t.yaml:1: unknown option \"quite_something_else\""},
    {"server:\n  http-port: 1\n  http-port: 2\n",
     "t.yaml:3: \"http-port\" is already given in line 2"},
    {"server:\n  http-port: 1\n  http_port: 2\n", "t.yaml:3: \"server.http-port\" is given twice"},
    {"server:\n  http-port: x\n", "t.yaml:2: server.http-port: \"x\" is not a whole number"},
    {"server:\n  http-port: 65536\n", "t.yaml:2: server.http-port: above the maximum 65535"},
    {"server:\n  http-port: -1\n", "t.yaml:2: server.http-port: below the minimum 0"},
    {"server:\n  on: yes\n", "t.yaml:2: server.on: \"yes\" is neither true nor false"},
    {"wal: {sync: never}\n", "t.yaml:1: wal.sync: \"never\" is not one of interval, always"},
    {"wal: {segment: {bytes: 5XB}}\n", "t.yaml:1: wal.segment.bytes: \"5XB\" is not a size"},
    {"wal: {segment: {bytes: 99999999TiB}}\n", "is not a size"},
    {"head: {max-age: 5}\n", "t.yaml:1: head.max-age: not a valid duration string: \"5\""},
    {"head: {ratio: NaN}\n", "t.yaml:1: head.ratio: below the minimum 0"},
    {"server: 5\n", "t.yaml:1: \"server\" is a section"},
    {"server: {http-port: {a: 1}}\n", "t.yaml:1: server.http-port: want one int"},
    {"a: &x [1]\nb: *x\n", "t.yaml:1: anchors and aliases are not accepted"},
    {"target: !!str all\n", "t.yaml:1: tags are not accepted"},
    {"target: a\n---\ntarget: b\n", "more than one document"},
    {"[1, 2]\n", "t.yaml:1: want options"},
    {"a: [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]\n", "nested deeper than 16"},
    {"target: \"a\n", "t.yaml:"},
    {"? [a]\n: b\n", "t.yaml:1: a key must be a plain word"},
};

TEST(wrong_files_are_refused_with_line_and_reason)
{
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct config *c = fresh();
        struct err err = {0};

        if (load(c, bad[i].text, &err) != (strstr(bad[i].want, "deeper") ? RC_LIMIT : RC_INVALID) ||
            !strstr(err_text(&err), bad[i].want))
            fail_msg("case %zu: got \"%s\", want \"%s\"", i, err_text(&err), bad[i].want);
        config_free(c);
    }
}

TEST(a_refused_value_leaves_the_old_one)
{
    struct config *c = fresh();

    CHECK(load(c, "server: {http-port: 70000}\n", NULL) < 0);
    CHECK_INT(cfg.port, 9009);
    config_free(c);
}

TEST(flags_take_both_dashes_and_both_forms)
{
    char *argv[] = {"-server.http-port",   "5",
                    "--server.on",         "--wal.dir=x=y",
                    "-head.max-age=3h",    "--ring.zones=p, q",
                    "--server.http_port=6"};
    struct config *c = fresh();
    struct err err = {0};

    CHECK(config_load_flags(c, 7, argv, NULL, &err) == 0);
    CHECK_INT(cfg.port, 6);
    CHECK(cfg.on);
    CHECK_STR(cfg.dir, "x=y");
    CHECK_INT(cfg.age_ms, 10800000);
    CHECK(cfg.zones.n == 2);
    CHECK_STR(cfg.zones.v[1], "q");
    config_free(c);
    c = fresh();
    CHECK(config_load_flags(c, 7, argv, "wal.dir", &err) == 0);
    CHECK_STR(cfg.dir, "x=y");
    CHECK_INT(cfg.port, 9009);
    config_free(c);
}

static const struct {
    char *flag;
    const char *want;
} bad_flags[] = {
    {"--server.http-pert=1",
     "unknown option \"server.http-pert\", did you mean \"server.http-port\"?"},
    {"--server.http-port", "--server.http-port needs a value"},
    {"--server.http-port=abc", "--server.http-port: \"abc\" is not a whole number"},
    {"word", "\"word\" is neither a flag nor a command"},
};

TEST(wrong_flags_are_refused)
{
    for (size_t i = 0; i < ARRAY_LEN(bad_flags); i++) {
        struct config *c = fresh();
        struct err err = {0};
        char *argv[] = {bad_flags[i].flag};

        CHECK(config_load_flags(c, 1, argv, NULL, &err) == RC_INVALID);
        if (!strstr(err_text(&err), bad_flags[i].want))
            fail_msg("got \"%s\", want \"%s\"", err_text(&err), bad_flags[i].want);
        config_free(c);
    }
}

TEST(the_environment_expands_in_files_and_sets_options)
{
    struct config *c = fresh();
    struct err err = {0};
    struct buf out;

    setenv("T_DIR", "/data", 1);
    unsetenv("T_NONE");
    buf_init(&out, 1000);
    CHECK(config_expand("f",
                        STR("a: ${T_DIR}/x ${T_NONE:d:e}${T_NONE:}\n # ${T_NONE}\nb: $${T_DIR} "
                            "${1} ${ $T_DIR ${T_DIR"),
                        &out, &err) == 0);
    buf_char(&out, '\0');
    CHECK_STR(out.p, "a: /data/x d:e\n # ${T_NONE}\nb: ${T_DIR} ${1} ${ $T_DIR ${T_DIR");
    buf_clear(&out);
    CHECK(config_expand("f", STR("a: 1\nb: ${T_NONE}\n"), &out, &err) == RC_INVALID);
    CHECK_STR(err_text(&err), "f:2: environment variable T_NONE is not set and has no default");
    buf_fini(&out);
    buf_init(&out, 5);
    CHECK(config_expand("f", STR("abcdefgh"), &out, &err) == RC_LIMIT);
    buf_fini(&out);
    setenv("TORC_SERVER_HTTP_PORT", "77", 1);
    CHECK(config_load_environment(c, &err) == 0);
    CHECK_INT(cfg.port, 77);
    setenv("TORC_SERVER_HTTP_PORT", "x", 1);
    CHECK(config_load_environment(c, &err) == RC_INVALID);
    CHECK(strstr(err_text(&err), "environment variable TORC_SERVER_HTTP_PORT: "));
    unsetenv("TORC_SERVER_HTTP_PORT");
    config_free(c);
}

static char *printed(struct config *c,
                     void (*print)(const struct config *c, bool diff, struct buf *out), bool diff)
{
    struct buf out;
    size_t n;

    buf_init(&out, 1 << 20);
    print(c, diff, &out);
    buf_char(&out, '\0');
    return buf_take(&out, &n);
}

TEST(the_effective_config_masks_secrets_and_reads_back)
{
    struct config *c = fresh(), *again;
    struct err err = {0};
    char *text, *second;

    CHECK(load(c,
               "wal: {dir: \"a: \\\"b\\\"\", segment: {bytes: 1MiB}}\nhead: {max-age: 90m}\ns3: "
               "{secret-key: hunter2}\nring: {zones: []}\n",
               &err) == 0);
    text = printed(c, config_print_yaml, true);
    CHECK_STR(text, "head:\n  max-age: 1h30m\nring:\n  zones: []\ns3:\n  secret-key: "
                    "\"********\"\nwal:\n  dir: \"a: \\\"b\\\"\"\n  segment:\n    bytes: 1MiB\n");
    free(text);
    text = printed(c, config_print_yaml, false);
    CHECK(strstr(text, "target: all\nhead:\n  max-age: 1h30m\n  ratio: 0.5\n"));
    CHECK(!strstr(text, "hunter2"));
    config_free(c);
    again = fresh();
    if (load(again, text, &err) < 0)
        fail_msg("%s", err_text(&err));
    second = printed(again, config_print_yaml, false);
    CHECK_STR(second, text);
    free(text);
    free(second);
    text = printed(again, config_print_json, true);
    CHECK_STR(text, "{\"head.max-age\":\"1h30m\",\"ring.zones\":[],\"s3.secret-key\":\"********\","
                    "\"wal.dir\":\"a: \\\"b\\\"\",\"wal.segment.bytes\":\"1MiB\"}\n");
    free(text);
    config_free(again);
}

TEST(help_docs_and_schema_name_every_option)
{
    struct config *c = fresh();
    struct buf help, docs, schema;
    json_t *root, *at;

    buf_init(&help, 1 << 20);
    buf_init(&docs, 1 << 20);
    buf_init(&schema, 1 << 20);
    config_print_help(c, &help);
    config_print_docs(c, &docs);
    config_print_schema(c, &schema);
    buf_char(&help, '\0');
    buf_char(&docs, '\0');
    for (const struct option *o = table; o->name; o++) {
        CHECK(strstr(help.p, o->name));
        CHECK(strstr(docs.p, o->name));
    }
    CHECK(strstr(docs.p, "| `head.max-age` | duration | `2h` | 1m to 24h | no | Age. |\n"));
    root = json_loadb(schema.p, schema.n, 0, NULL);
    CHECK(root != NULL);
    at = json_object_get(
        json_object_get(json_object_get(json_object_get(root, "properties"), "wal"), "properties"),
        "segment");
    CHECK(json_object_get(json_object_get(at, "properties"), "bytes") != NULL);
    json_decref(root);
    buf_fini(&help);
    buf_fini(&docs);
    buf_fini(&schema);
    config_free(c);
}
