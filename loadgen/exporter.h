/* exporter.h - the figures of a running load as Prometheus metrics, torc_loadgen_...: at an HTTP endpoint /metrics, in a file for node_exporter's textfile
 * collector, or both. Updated each second by the loop; scrapes are answered by the HTTP server's own threads. */
#pragma once
#include "loadgen/report.h"

struct exporter;

/* listen: "HOST:PORT" or ":PORT" with a numeric address, port 0 for any, or ""; file: a path or "". Fails (RC_INVALID, RC_IO) when it cannot listen or write. */
int exporter_new(const char *listen, const char *file, struct exporter **ret, struct err *err);
/* Updates and writes the file; a write that fails is told once on stderr. */
void exporter_update(struct exporter *e, const struct figures *f);
uint16_t exporter_port(const struct exporter *e); /* 0: does not listen */
void exporter_free(struct exporter *e);           /* NULL is fine; the file stays */
