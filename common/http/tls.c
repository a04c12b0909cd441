#include "common/http/http_impl.h"
#include "common/base/hash.h"
#include "common/sys/fs.h"

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdlib.h>

/* One certificate with its key. Handshakes under way may use it, so it stays until the end: a file changes some times a year. */
struct tls_pair {
    gnutls_pcert_st chain[TLS_CHAIN_MAX];
    unsigned chain_n;
    gnutls_privkey_t key;
    struct tls_pair *older;
};

struct http_tls {
    char *cert_file, *key_file; /* --- fixed --- */
    char *client_ca;            /* PEM; NULL: not asked for */
    struct log *log;
    struct metric *ok, *expires;
    int64_t looked_ms; /* --- the watcher only --- */
    uint64_t hash;
    struct tls_pair *_Atomic pair;
};

static int gnutls_err(struct err *err, int code, const char *file)
{
    return err_set(err, RC_INVALID, "%s: %s", file, gnutls_strerror(code));
}

static void pair_free(struct tls_pair *p)
{
    for (unsigned i = 0; i < p->chain_n; i++)
        gnutls_pcert_deinit(&p->chain[i]);
    if (p->key)
        gnutls_privkey_deinit(p->key);
    free(p);
}

static gnutls_datum_t datum(const struct buf *b)
{
    return (gnutls_datum_t){(unsigned char *)b->p, (unsigned)b->n};
}

/* That the key signs what the certificate verifies. */
static bool belongs(struct tls_pair *p)
{
    gnutls_datum_t text = {(unsigned char *)(uintptr_t)"torc", 4}, signature = {0};
    gnutls_digest_algorithm_t hash = GNUTLS_DIG_SHA256;
    bool ok = gnutls_privkey_sign_data(p->key, hash, 0, &text, &signature) == 0;

    if (ok)
        ok = gnutls_pubkey_verify_data2(p->chain[0].pubkey, gnutls_pk_to_sign(gnutls_privkey_get_pk_algorithm(p->key, NULL), hash), 0, &text, &signature) >= 0;
    gnutls_free(signature.data);
    return ok;
}

static int pair_read(struct http_tls *t, const struct buf *cert, const struct buf *key, struct tls_pair **ret, struct err *err)
{
    struct tls_pair *p = xcalloc(1, sizeof *p);
    gnutls_datum_t cert_pem = datum(cert), key_pem = datum(key);
    unsigned n = TLS_CHAIN_MAX;
    int code = gnutls_pcert_list_import_x509_raw(p->chain, &n, &cert_pem, GNUTLS_X509_FMT_PEM, 0), rc = 0;

    p->chain_n = code == 0 ? n : 0;
    if (code != 0)
        rc = gnutls_err(err, code, t->cert_file);
    if (rc == 0) {
        code = gnutls_privkey_init(&p->key);
        if (code == 0)
            code = gnutls_privkey_import_x509_raw(p->key, &key_pem, GNUTLS_X509_FMT_PEM, NULL, 0);
        if (code != 0)
            rc = gnutls_err(err, code, t->key_file);
    }
    if (rc == 0 && !belongs(p))
        rc = err_set(err, RC_INVALID, "%s is not the key of %s", t->key_file, t->cert_file);
    if (rc == 0)
        *ret = p;
    else
        pair_free(p);
    return rc;
}

static void note_expiry(struct http_tls *t, const struct buf *cert)
{
    gnutls_datum_t pem = datum(cert);
    gnutls_x509_crt_t crt;

    if (!t->expires || gnutls_x509_crt_init(&crt) != 0)
        return;
    if (gnutls_x509_crt_import(crt, &pem, GNUTLS_X509_FMT_PEM) == 0)
        metric_set(t->expires, (double)gnutls_x509_crt_get_expiration_time(crt));
    gnutls_x509_crt_deinit(crt);
}

static int load(struct http_tls *t, struct err *err)
{
    struct tls_pair *p;
    struct buf cert, key;
    uint64_t hash;
    int rc;

    buf_init(&cert, TLS_FILE_BYTES_MAX);
    buf_init(&key, TLS_FILE_BYTES_MAX);
    rc = fs_read(t->cert_file, &cert, err);
    if (rc == 0)
        rc = fs_read(t->key_file, &key, err);
    hash = rc == 0 ? hash64(cert.p, cert.n, hash64(key.p, key.n, 1)) : 0;
    if (rc == 0 && hash != t->hash) {
        rc = pair_read(t, &cert, &key, &p, err);
        if (rc == 0) {
            p->older = atomic_load(&t->pair);
            atomic_store(&t->pair, p);
            t->hash = hash;
            note_expiry(t, &cert);
            log_info(t->log, "certificate loaded", "file", t->cert_file);
        }
    }
    if (key.n)
        gnutls_memset(key.p, 0, key.n);
    buf_fini(&cert);
    buf_fini(&key);
    if (t->ok)
        metric_set(t->ok, rc == 0);
    return rc;
}

int http_tls_new(const struct tls_cfg *cfg, struct log *log, struct metrics *m, struct http_tls **ret, struct err *err)
{
    struct http_tls *t = xcalloc(1, sizeof *t);
    struct buf ca;
    size_t n;
    int rc = 0;

    t->cert_file = xstrdup(cfg->cert_file);
    t->key_file = xstrdup(cfg->key_file);
    t->log = log;
    if (m) {
        t->ok = metrics_gauge(m, "torc_tls_last_reload_successful", "1 when the last look at certificate and key succeeded.");
        t->expires = metrics_gauge(m, "torc_tls_certificate_expiry_timestamp_seconds", "When the certificate of the HTTP server ends.");
    }
    buf_init(&ca, TLS_FILE_BYTES_MAX);
    if (cfg->client_ca_file && *cfg->client_ca_file) {
        rc = fs_read(cfg->client_ca_file, &ca, err);
        buf_char(&ca, '\0');
        t->client_ca = rc == 0 && buf_ok(&ca) ? buf_take(&ca, &n) : NULL;
    }
    buf_fini(&ca);
    if (rc == 0)
        rc = load(t, err);
    if (rc < 0)
        http_tls_free(t);
    else
        *ret = t;
    return rc;
}

void http_tls_free(struct http_tls *t)
{
    struct tls_pair *p, *older;

    if (!t)
        return;
    for (p = atomic_load(&t->pair); p; p = older) {
        older = p->older;
        pair_free(p);
    }
    free(t->client_ca);
    free(t->cert_file);
    free(t->key_file);
    free(t);
}

void http_tls_tick(struct http_tls *t, int64_t now_ms)
{
    struct err err;

    if (now_ms - t->looked_ms < TLS_RELOAD_MS)
        return;
    t->looked_ms = now_ms;
    if (load(t, &err) < 0)
        log_error(t->log, "certificate not loaded, the previous one stays", "err", err_log(&err));
}

/* libmicrohttpd hands GnuTLS no argument of ours, but its sessions know their daemon's credentials alone; so the pair is found through the socket's server. */
static struct http_tls *_Atomic the_tls[TLS_SERVERS_MAX];

static int retrieve(struct http_tls *t, gnutls_pcert_st **chain, unsigned *n, gnutls_privkey_t *key)
{
    struct tls_pair *p = atomic_load(&t->pair);

    *chain = p->chain;
    *n = p->chain_n;
    *key = p->key;
    return 0;
}

#define RETRIEVER(i)                                                                               \
    static int retrieve_##i(UNUSED gnutls_session_t session, UNUSED const gnutls_datum_t *ca, UNUSED int ca_n,     \
                            UNUSED const gnutls_pk_algorithm_t *algorithms, UNUSED int algorithms_n,              \
                            gnutls_pcert_st **chain, unsigned *n, gnutls_privkey_t *key)           \
    {                                                                                              \
        return retrieve(atomic_load(&the_tls[i]), chain, n, key);                                  \
    }
RETRIEVER(0)
RETRIEVER(1)
RETRIEVER(2)
RETRIEVER(3)

gnutls_certificate_retrieve_function2 *http_tls_retriever(struct http_tls *t)
{
    static gnutls_certificate_retrieve_function2 *const all[TLS_SERVERS_MAX] = {retrieve_0, retrieve_1, retrieve_2, retrieve_3};

    for (size_t i = 0; i < TLS_SERVERS_MAX; i++) {
        struct http_tls *none = NULL;

        if (atomic_load(&the_tls[i]) == t || atomic_compare_exchange_strong(&the_tls[i], &none, t))
            return all[i];
    }
    return NULL;
}

void http_tls_forget(struct http_tls *t)
{
    for (size_t i = 0; i < TLS_SERVERS_MAX; i++) {
        struct http_tls *mine = t;

        atomic_compare_exchange_strong(&the_tls[i], &mine, NULL);
    }
}

const char *http_tls_client_ca(const struct http_tls *t)
{
    return t->client_ca;
}

/* Once for a connection; its answer stays. */
bool http_tls_client_ok(const struct http_tls *t, struct MHD_Connection *mhd, struct http_conn *c)
{
    const union MHD_ConnectionInfo *info;
    gnutls_typed_vdata_st purpose = {.type = GNUTLS_DT_KEY_PURPOSE_OID, .data = (unsigned char *)(uintptr_t)GNUTLS_KP_TLS_WWW_CLIENT};
    unsigned status = 0;

    if (!t->client_ca || c->client_verified)
        return true;
    info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    c->client_verified = info && gnutls_certificate_verify_peers(info->tls_session, &purpose, 1, &status) == 0 && status == 0;
    return c->client_verified;
}
