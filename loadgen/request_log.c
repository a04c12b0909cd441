#include "loadgen/request_log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct request_log {
    FILE *f;
};

int request_log_new(const char *path, struct request_log **ret, struct err *err)
{
    struct request_log *l;
    FILE *f = fopen(path, "we");

    if (!f)
        return err_sys(err, RC_IO, "request log: open %s", path);
    setvbuf(f, NULL, _IOLBF, 0); /* a killed generator has told all it knew */
    fputs("begin_s\tend_s\toutcome\tstatus\ttenant\tbatch\tsamples\tt_ms\n", f);
    l = xcalloc(1, sizeof *l);
    l->f = f;
    *ret = l;
    return 0;
}

void request_log_add(struct request_log *l, const struct request_line *line)
{
    static const char *const outcomes[] = {[REQUEST_OK] = "ok", [REQUEST_FAIL] = "fail", [REQUEST_UNKNOWN] = "unknown"};

    if (l)
        fprintf(l->f, "%.6f\t%.6f\t%s\t%d\t%u\t%u\t%u\t%" PRId64 "\n", (double)line->begin_ns * 1e-9, (double)line->end_ns * 1e-9, outcomes[line->outcome],
                line->status, line->tenant, line->batch, line->samples, line->t_ms);
}

void request_log_free(struct request_log *l)
{
    if (!l)
        return;
    fclose(l->f);
    free(l);
}
