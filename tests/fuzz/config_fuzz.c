/* The YAML configuration: whatever loads must print, load again and print the same. */
#include "common/config/config.h"
#include "common/config/limits.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static bool load(struct limits *l, struct str text, struct buf *printed)
{
    struct config *c = config_new();
    struct err err;
    bool ok;

    memset(l, 0, sizeof *l);
    config_add(c, "limits.", limits_options, l);
    ok = config_load_yaml(c, "fuzz", text, &err) == 0;
    if (ok)
        config_print_yaml(c, false, printed);
    config_free(c);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct buf expanded, first, second;
    struct limits l;

    buf_init(&expanded, 1 << 20);
    buf_init(&first, 4 << 20);
    buf_init(&second, 4 << 20);
    if (config_expand("fuzz", str_n(data, n), &expanded, NULL) == 0 &&
        load(&l, buf_view(&expanded), &first) && buf_ok(&first)) {
        ASSERT(load(&l, buf_view(&first), &second));
        ASSERT(str_eq(buf_view(&first), buf_view(&second)));
    }
    buf_fini(&expanded);
    buf_fini(&first);
    buf_fini(&second);
    return 0;
}
