#include "common/model/labels.h"

#include <stdlib.h>
#include <unictype.h>
#include <unistr.h>

static char *lstr_put(char *p, struct str s)
{
    p += uvarint_put(p, s.n);
    if (s.n)
        memcpy(p, s.p, s.n);
    return p + s.n;
}

/* What labels_put writes at most. */
static size_t labels_bytes_max(const struct labels *ls)
{
    size_t n = UVARINT_MAX;

    for (size_t i = 0; i < ls->n; i++)
        n += 2 * UVARINT_MAX + ls->v[i].name.n + ls->v[i].value.n;
    return n;
}

static char *labels_put(char *p, const struct labels *ls)
{
    p += uvarint_put(p, ls->n);
    for (size_t i = 0; i < ls->n; i++) {
        p = lstr_put(p, ls->v[i].name);
        p = lstr_put(p, ls->v[i].value);
    }
    return p;
}

fingerprint labels_fingerprint(struct str tenant, const struct labels *ls)
{
    enum { USUAL_BYTES = 2048 };
    size_t room = labels_bytes_max(ls) + UVARINT_MAX + tenant.n;
    char usual[USUAL_BYTES], *start = room <= sizeof usual ? usual : xmalloc(room), *end = labels_put(lstr_put(start, tenant), ls);
    uint8_t sum[32];

    sha256(start, (size_t)(end - start), sum);
    if (start != usual)
        free(start);
    return (fingerprint){be_get64(sum), be_get64(sum + 8)};
}

static int by_name(const void *a, const void *b)
{
    return str_cmp(((const struct label *)a)->name, ((const struct label *)b)->name);
}

bool labels_sort(struct labels *ls, struct str *ret_dup)
{
    bool sorted = true;

    for (size_t i = 1; i < ls->n && sorted; i++)
        sorted = str_cmp(ls->v[i - 1].name, ls->v[i].name) < 0;
    if (sorted)
        return true;
    qsort(ls->v, ls->n, sizeof *ls->v, by_name);
    for (size_t i = 1; i < ls->n; i++) {
        if (str_eq(ls->v[i - 1].name, ls->v[i].name)) {
            if (ret_dup)
                *ret_dup = ls->v[i].name;
            return false;
        }
    }
    return true;
}

int labels_cmp(const struct labels *a, const struct labels *b)
{
    size_t n = MIN(a->n, b->n);

    for (size_t i = 0; i < n; i++) {
        int c = str_cmp(a->v[i].name, b->v[i].name);

        if (c == 0)
            c = str_cmp(a->v[i].value, b->v[i].value);
        if (c)
            return c;
    }
    return (a->n > b->n) - (a->n < b->n);
}

bool labels_eq(const struct labels *a, const struct labels *b)
{
    return a->n == b->n && labels_cmp(a, b) == 0;
}

struct str labels_get(const struct labels *ls, struct str name)
{
    for (size_t i = 0; i < ls->n; i++)
        if (str_eq(ls->v[i].name, name))
            return ls->v[i].value;
    return (struct str){0};
}

struct labels labels_dup(struct arena *a, const struct labels *ls)
{
    struct labels out = {arena_array(a, ls->n, sizeof *ls->v), ls->n};

    if (!out.v)
        return (struct labels){0};
    for (size_t i = 0; i < ls->n; i++) {
        out.v[i].name = arena_str(a, ls->v[i].name);
        out.v[i].value = arena_str(a, ls->v[i].value);
        if (!out.v[i].name.p || !out.v[i].value.p)
            return (struct labels){0};
    }
    return out;
}

bool label_names_have(const struct label_names *k, struct str name)
{
    if (!k || str_has_prefix(name, STR("__")))
        return true;
    for (size_t i = 0; i < k->n; i++)
        if (str_eq(k->v[i], name))
            return true;
    return false;
}

struct labels labels_only(struct arena *a, const struct labels *ls, const struct label_names *k)
{
    struct labels out = {arena_array(a, ls->n, sizeof *out.v), 0};

    for (size_t i = 0; out.v && i < ls->n; i++)
        if (label_names_have(k, ls->v[i].name))
            out.v[out.n++] = ls->v[i];
    return out;
}

void labels_encode(struct buf *out, const struct labels *ls)
{
    size_t room = labels_bytes_max(ls);

    /* Near its maximum a buffer may have room for them all the same. */
    if (LIKELY(out->max - out->n >= room && buf_reserve(out, room))) {
        out->n = (size_t)(labels_put(out->p + out->n, ls) - out->p);
        return;
    }
    buf_uvarint(out, ls->n);
    for (size_t i = 0; i < ls->n; i++) {
        buf_lstr(out, ls->v[i].name);
        buf_lstr(out, ls->v[i].value);
    }
}

int labels_decode(struct rd *r, struct arena *a, struct labels *ret, struct err *err)
{
    uint64_t n = rd_uvarint(r);
    struct labels ls;

    CORRUPT_UNLESS(rd_ok(r) && n <= LABELS_MAX && n * 2 <= rd_left(r), err);
    ls.n = (size_t)n;
    ls.v = arena_array(a, ls.n, sizeof *ls.v);
    if (!ls.v)
        return err_set(err, RC_NOMEM, "labels: memory budget is spent");
    for (size_t i = 0; i < ls.n; i++) {
        ls.v[i].name = rd_lstr(r);
        ls.v[i].value = rd_lstr(r);
        CORRUPT_UNLESS(rd_ok(r) && ls.v[i].name.n > 0 && ls.v[i].value.n > 0, err);
        CORRUPT_UNLESS(i == 0 || str_cmp(ls.v[i - 1].name, ls.v[i].name) < 0, err);
    }
    *ret = ls;
    return 0;
}

bool rune_printable(uint32_t rune)
{
    return rune == ' ' ||
           uc_is_general_category_withtable(rune, UC_CATEGORY_MASK_L | UC_CATEGORY_MASK_M | UC_CATEGORY_MASK_N |
                                                      UC_CATEGORY_MASK_P | UC_CATEGORY_MASK_S);
}

void labels_escape(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.n;) {
        uint8_t c = (uint8_t)s.p[i];
        ucs4_t uc;
        int len;

        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c == '\n')
            buf_z(out, "\\n");
        else if (c == '\t')
            buf_z(out, "\\t");
        else if (c == '\r')
            buf_z(out, "\\r");
        else if (c == 7 || c == 8 || c == 11 || c == 12)
            buf_printf(out, "\\%c", "abtnvfr"[c - 7]);
        else if (c < 0x20 || c == 0x7f)
            buf_printf(out, "\\x%02x", c);
        else if (c < 0x80)
            buf_char(out, (char)c);
        else {
            len = u8_mbtoucr(&uc, (const uint8_t *)s.p + i, s.n - i);
            if (len > 0) {
                if (rune_printable(uc))
                    buf_add(out, s.p + i, (size_t)len);
                else
                    buf_printf(out, uc < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)uc);
                i += (size_t)len;
                continue;
            }
            buf_printf(out, "\\x%02x", c);
        }
        i++;
    }
}

void labels_quote(struct buf *out, struct str s)
{
    buf_char(out, '"');
    labels_escape(out, s);
    buf_char(out, '"');
}

void labels_print(struct buf *out, const struct labels *ls)
{
    struct str name = labels_get(ls, STR(LABEL_METRIC_NAME));
    bool bare = name.p && metric_name_legacy_valid(name);
    bool first = true;

    if (bare)
        buf_str(out, name);
    if (bare && ls->n == 1)
        return;
    buf_char(out, '{');
    if (name.p && !bare) {
        labels_quote(out, name);
        first = false;
    }
    for (size_t i = 0; i < ls->n; i++) {
        if (str_eq(ls->v[i].name, STR(LABEL_METRIC_NAME)))
            continue;
        if (!first)
            buf_z(out, ", ");
        first = false;
        if (label_name_legacy_valid(ls->v[i].name))
            buf_str(out, ls->v[i].name);
        else
            labels_quote(out, ls->v[i].name);
        buf_char(out, '=');
        labels_quote(out, ls->v[i].value);
    }
    buf_char(out, '}');
}

static bool name_valid(struct str s, bool colon)
{
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (colon && c == ':');

        if (!letter && !(i > 0 && c >= '0' && c <= '9'))
            return false;
    }
    return true;
}

bool metric_name_legacy_valid(struct str s)
{
    return name_valid(s, true);
}

bool label_name_legacy_valid(struct str s)
{
    return name_valid(s, false);
}

bool utf8_valid(struct str s)
{
    size_t i = 0;

    while (i < s.n && (uint8_t)s.p[i] < 0x80)
        i++;
    return i == s.n || u8_check((const uint8_t *)s.p + i, s.n - i) == NULL;
}
