#include "common/obs/traceparent.h"

#include <stdio.h>

/* n lower-case hex digits, not all '0' unless zero_ok. */
static bool is_hex(struct str s, size_t n, bool zero_ok)
{
    bool zero = true;

    if (s.n != n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!(s.p[i] >= '0' && s.p[i] <= '9') && !(s.p[i] >= 'a' && s.p[i] <= 'f'))
            return false;
        zero &= s.p[i] == '0';
    }
    return !zero || zero_ok;
}

enum { AT_TRACE = 3, AT_PARENT = 36, AT_FLAGS = 53, LENGTH = 55 };

bool traceparent_parse(struct str t, struct traceparent *ret)
{
    struct str version, trace, parent, flags;

    if (t.n < LENGTH || t.p[2] != '-' || t.p[AT_PARENT - 1] != '-' || t.p[AT_FLAGS - 1] != '-')
        return false;
    version = str_sub(t, 0, 2);
    trace = str_sub(t, AT_TRACE, AT_PARENT - 1);
    parent = str_sub(t, AT_PARENT, AT_FLAGS - 1);
    flags = str_sub(t, AT_FLAGS, LENGTH);
    if (!is_hex(version, 2, true) || str_eqz(version, "ff") || !is_hex(trace, 32, false) || !is_hex(parent, 16, false) || !is_hex(flags, 2, true))
        return false;
    if (str_eqz(version, "00") ? t.n != LENGTH : t.n > LENGTH && t.p[LENGTH] != '-')
        return false;
    snprintf(ret->trace_id, sizeof ret->trace_id, "%.*s", STR_FMT(trace));
    snprintf(ret->parent_id, sizeof ret->parent_id, "%.*s", STR_FMT(parent));
    ret->sampled = strchr("13579bdf", flags.p[1]) != NULL;
    return true;
}

void traceparent_begin(uint64_t hi, uint64_t lo, struct traceparent *ret)
{
    *ret = (struct traceparent){0};
    snprintf(ret->trace_id, sizeof ret->trace_id, "%016llx%016llx", (unsigned long long)hi, (unsigned long long)(lo | 1));
}
