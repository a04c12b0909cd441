/* tls.h - TLS of the HTTP server: GnuTLS below libmicrohttpd.
 * TLS 1.2 and 1.3 with forward secrecy; certificate and key are read from PEM files, and looked at again every TLS_RELOAD_MS: new connections get the new
 * ones. Files that do not load, or do not belong together, change nothing (the log says so).
 * Client certificates: with a file of CAs, 403 on a connection without one that the CA signed, is valid now and is meant for clients (extended key
 * usage); the file of CAs is read once. */
#pragma once
#include "common/base/err.h"
#include "common/obs/log.h"
#include "common/obs/metrics.h"

enum { TLS_RELOAD_MS = 5000, TLS_FILE_BYTES_MAX = 1 << 20, TLS_CHAIN_MAX = 16 };

struct tls_cfg {
    const char *cert_file, *key_file; /* "" or NULL: no TLS */
    const char *client_ca_file;       /* "": client certificates are not asked for */
};
struct http_tls;
int http_tls_new(const struct tls_cfg *cfg, struct log *log, struct metrics *m, struct http_tls **ret, struct err *err);
void http_tls_free(struct http_tls *t); /* NULL is fine */
/* Looks at the files when it is time to. */
void http_tls_tick(struct http_tls *t, int64_t now_mono_ms);
