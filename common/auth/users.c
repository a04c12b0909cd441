#include "common/auth/users.h"
#include "common/base/arena.h"
#include "common/base/hash.h"
#include "common/config/yaml.h"
#include "common/model/tenant.h"
#include "common/sys/thread.h"

#include <crypt.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <uthash.h>

enum { REMEMBERED_MAX = 65536 };

struct named {
    struct user user;
    UT_hash_handle by_name, by_token;
};

/* A pair of name and password that was right, by its HMAC under the table's secret. */
struct remembered {
    uint8_t mac[32];
    const struct user *user;
    UT_hash_handle hh;
};

struct users {
    struct named *v; /* --- fixed after parsing --- */
    size_t n, cap;
    struct named *names, *tokens;
    uint8_t secret[32];
    struct mutex lock; /* --- guards remembered --- */
    struct remembered *remembered;
};

/* --- parsing --- */

static int bad(const char *file, const struct yaml_node *n, struct err *err, const char *text)
{
    return err_set(err, RC_INVALID, "%s:%zu: %s", file, n->key.p && n->key.n ? n->key_line : n->line, text);
}

static int parse_role(const char *file, const struct yaml_node *n, struct user *u, struct err *err)
{
    for (int r = HTTP_ROLE_METRICS; r < HTTP_ROLES; r++)
        if (str_eqz(n->text, http_role_name((enum http_role)r))) {
            u->roles |= 1u << r;
            return 0;
        }
    return err_set(err, RC_INVALID, "%s:%zu: unknown role \"%.*s\": want write, read, rules, metrics or admin", file, n->line, STR_FMT(n->text));
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int parse_tenants(const char *file, const struct yaml_node *list, struct user *u, struct err *err)
{
    if (list->child_count == 0 || list->child_count > USER_TENANTS_MAX)
        return bad(file, list, err, "tenants: want between 1 and 10000; leave it out for all tenants");
    u->tenants = xcalloc(list->child_count, sizeof *u->tenants);
    for (const struct yaml_node *n = list->children; n; n = n->next) {
        int rc = n->kind == YAML_SCALAR ? tenant_id_check(n->text, err) : bad(file, n, err, "want a tenant");

        if (rc < 0)
            return err_wrap(err, rc, "%s:%zu", file, n->line);
        u->tenants[u->tenants_n++] = str_dupz(n->text);
    }
    qsort(u->tenants, u->tenants_n, sizeof *u->tenants, by_text);
    return 0;
}

static int parse_password(const char *file, const struct yaml_node *n, struct user *u, struct err *err)
{
    static const char *const schemes[] = {"$2b$", "$2y$", "$2a$", "$y$", "$gy$", "$7$", "$6$", "$5$"};

    for (size_t i = 0; i < ARRAY_LEN(schemes); i++)
        if (str_has_prefix(n->text, str_of(schemes[i])) && n->text.n < CRYPT_OUTPUT_SIZE) {
            u->hash = str_dupz(n->text);
            return 0;
        }
    return bad(file, n, err, "password: want a hash of crypt(3), such as `mkpasswd -m bcrypt` or `htpasswd -nB` prints; the password itself is not taken");
}

static int parse_token_hash(const char *file, const struct yaml_node *n, struct user *u, struct err *err)
{
    size_t size = sizeof u->token;
    gnutls_datum_t in = {(unsigned char *)(uintptr_t)n->text.p, (unsigned)n->text.n};

    if (n->text.n != 64 || gnutls_hex_decode(&in, u->token, &size) != 0 || size != sizeof u->token)
        return bad(file, n, err, "token_sha256: want 64 hexadecimal digits");
    u->has_token = true;
    return 0;
}

static int parse_token(const char *file, const struct yaml_node *n, struct user *u, struct err *err)
{
    if (n->text.n < 16 || n->text.n > USER_SECRET_BYTES_MAX)
        return bad(file, n, err, "token: want 16 to 1024 bytes");
    sha256(n->text.p, n->text.n, u->token);
    u->has_token = true;
    return 0;
}

static int parse_key(const char *file, const struct yaml_node *n, struct user *u, struct err *err)
{
    static const struct {
        const char *key;
        int (*parse)(const char *file, const struct yaml_node *n, struct user *u, struct err *err);
    } scalars[] = {{"password", parse_password}, {"token", parse_token}, {"token_sha256", parse_token_hash}};
    int rc = 0;

    if (str_eqz(n->key, "name") && n->kind == YAML_SCALAR && n->text.n && n->text.n <= USER_NAME_BYTES_MAX && str_find(n->text, ':') == n->text.n) {
        u->name = str_dupz(n->text);
        return 0;
    }
    if (str_eqz(n->key, "name"))
        return bad(file, n, err, "name: want 1 to 256 bytes without ':'");
    if (str_eqz(n->key, "roles") && n->kind == YAML_SEQUENCE) {
        for (const struct yaml_node *r = n->children; r && rc == 0; r = r->next)
            rc = parse_role(file, r, u, err);
        return rc;
    }
    if (str_eqz(n->key, "tenants") && n->kind == YAML_SEQUENCE)
        return parse_tenants(file, n, u, err);
    for (size_t i = 0; i < ARRAY_LEN(scalars); i++)
        if (str_eqz(n->key, scalars[i].key) && n->kind == YAML_SCALAR)
            return scalars[i].parse(file, n, u, err);
    return err_set(err, RC_INVALID, "%s:%zu: unknown key or wrong form \"%.*s\": want name, password, token or token_sha256, roles: [..], tenants: [..]", file,
                   n->key_line, STR_FMT(n->key));
}

static int parse_user(struct users *us, const char *file, const struct yaml_node *node, struct err *err)
{
    struct named *n = &us->v[us->n++], *twin = NULL;
    struct user *u = &n->user;
    int rc = node->kind == YAML_MAPPING ? 0 : bad(file, node, err, "want a user, \"name: ..\"");

    for (const struct yaml_node *k = rc == 0 ? node->children : NULL; k && rc == 0; k = k->next)
        rc = parse_key(file, k, u, err);
    if (rc < 0)
        return rc;
    if (!u->name || (!u->hash && !u->has_token) || !u->roles)
        return bad(file, node, err, "a user needs a name, a password or a token, and roles");
    HASH_FIND(by_name, us->names, u->name, strlen(u->name), twin);
    if (twin)
        return bad(file, node, err, "this name stands twice");
    HASH_ADD_KEYPTR(by_name, us->names, u->name, strlen(u->name), n);
    if (!u->has_token)
        return 0;
    HASH_FIND(by_token, us->tokens, u->token, sizeof u->token, twin);
    if (twin)
        return bad(file, node, err, "this token stands twice");
    HASH_ADD(by_token, us->tokens, user.token, sizeof u->token, n);
    return 0;
}

static int parse_root(struct users *us, const char *file, const struct yaml_node *root, struct err *err)
{
    const struct yaml_node *list = root->kind == YAML_MAPPING ? root->children : NULL;
    int rc = 0;

    if (!list || list->next || !str_eqz(list->key, "users") || list->kind != YAML_SEQUENCE || list->child_count == 0)
        return err_set(err, RC_INVALID, "%s: want \"users:\" with a list", file);
    if (list->child_count > USERS_MAX)
        return err_set(err, RC_LIMIT, "%s: more than %d users", file, USERS_MAX);
    us->v = xcalloc(list->child_count, sizeof *us->v);
    for (const struct yaml_node *n = list->children; n && rc == 0; n = n->next)
        rc = parse_user(us, file, n, err);
    return rc;
}

int users_parse(const char *file, struct str text, struct users **ret, struct err *err)
{
    struct users *us = xcalloc(1, sizeof *us);
    struct yaml_node *root;
    struct arena a;
    int rc;

    mutex_init(&us->lock);
    random_bytes(us->secret, sizeof us->secret);
    arena_init(&a, 512 << 20);
    rc = yaml_load(&a, file, text, &root, err);
    if (rc == 0)
        rc = parse_root(us, file, root, err);
    arena_fini(&a);
    if (rc < 0)
        users_free(us);
    else
        *ret = us;
    return rc;
}

void users_free(struct users *us)
{
    struct remembered *m, *tmp;

    if (!us)
        return;
    HASH_CLEAR(by_name, us->names);
    HASH_CLEAR(by_token, us->tokens);
    HASH_ITER(hh, us->remembered, m, tmp) {
        HASH_DEL(us->remembered, m);
        free(m);
    }
    for (size_t i = 0; i < us->n; i++) {
        struct user *u = &us->v[i].user;

        for (size_t k = 0; k < u->tenants_n; k++)
            free(u->tenants[k]);
        free(u->tenants);
        free(u->name);
        free(u->hash);
    }
    free(us->v);
    mutex_fini(&us->lock);
    free(us);
}

size_t users_count(const struct users *us)
{
    return us->n;
}

/* --- asking --- */

const struct user *users_by_token(const struct users *us, struct str token)
{
    struct named *n = NULL;
    uint8_t hash[32];

    /* What a look-up's time tells is of the hash, which nobody can steer to another's. */
    sha256(token.p, token.n, hash);
    HASH_FIND(by_token, us->tokens, hash, sizeof hash, n);
    return n && gnutls_memcmp(n->user.token, hash, sizeof hash) == 0 ? &n->user : NULL;
}

static void pair_mac(const struct users *us, struct str name, struct str password, uint8_t mac[32])
{
    uint8_t text[USER_NAME_BYTES_MAX + 1 + USER_SECRET_BYTES_MAX];

    ASSERT(name.n <= USER_NAME_BYTES_MAX && password.n <= USER_SECRET_BYTES_MAX);
    memcpy(text, name.p, name.n);
    text[name.n] = ':';
    memcpy(text + name.n + 1, password.p, password.n);
    ASSERT(gnutls_hmac_fast(GNUTLS_MAC_SHA256, us->secret, sizeof us->secret, text, name.n + 1 + password.n, mac) == 0);
    gnutls_memset(text, 0, sizeof text);
}

static bool too_long(struct str name, struct str password)
{
    return name.n > USER_NAME_BYTES_MAX || password.n >= CRYPT_MAX_PASSPHRASE_SIZE || memchr(password.p ? password.p : "", '\0', password.n);
}

const struct user *users_remembered(struct users *us, struct str name, struct str password)
{
    struct remembered *m = NULL;
    uint8_t mac[32];

    if (too_long(name, password))
        return NULL;
    pair_mac(us, name, password, mac);
    mutex_lock(&us->lock);
    HASH_FIND(hh, us->remembered, mac, sizeof mac, m);
    mutex_unlock(&us->lock);
    return m ? m->user : NULL;
}

static void remember(struct users *us, struct str name, struct str password, const struct user *u)
{
    struct remembered *m = xcalloc(1, sizeof *m), *twin = NULL;

    pair_mac(us, name, password, m->mac);
    m->user = u;
    mutex_lock(&us->lock);
    HASH_FIND(hh, us->remembered, m->mac, sizeof m->mac, twin);
    if (twin || HASH_COUNT(us->remembered) >= REMEMBERED_MAX)
        free(m);
    else
        HASH_ADD(hh, us->remembered, mac, sizeof m->mac, m);
    mutex_unlock(&us->lock);
}

static bool hash_matches(const char *hash, struct str password)
{
    struct crypt_data *work = xcalloc(1, sizeof *work);
    char *text = str_dupz(password), *got = crypt_rn(text, hash, work, (int)sizeof *work);
    size_t n = strlen(hash);
    bool equal = got && strlen(got) == n && gnutls_memcmp(got, hash, n) == 0;

    gnutls_memset(text, 0, password.n);
    gnutls_memset(work, 0, sizeof *work);
    free(text);
    free(work);
    return equal;
}

/* For a name that has none: that of some user, always the same for this name, so that the time says nothing. */
static const char *any_hash(const struct users *us, struct str name)
{
    uint8_t mac[32];
    size_t at;

    pair_mac(us, name, STR(""), mac);
    memcpy(&at, mac, sizeof at);
    for (size_t i = 0; i < us->n; i++)
        if (us->v[(at % us->n + i) % us->n].user.hash)
            return us->v[(at % us->n + i) % us->n].user.hash;
    return NULL;
}

const struct user *users_by_password(struct users *us, struct str name, struct str password)
{
    struct named *n = NULL;
    const char *hash;
    bool right;

    if (too_long(name, password))
        return NULL;
    HASH_FIND(by_name, us->names, name.p ? name.p : "", name.n, n);
    hash = n && n->user.hash ? n->user.hash : any_hash(us, name);
    if (!hash)
        return NULL; /* nobody has a password */
    right = hash_matches(hash, password) && n && n->user.hash;
    if (right)
        remember(us, name, password, &n->user);
    return right ? &n->user : NULL;
}

bool user_may(const struct user *u, struct str tenant)
{
    size_t lo = 0, hi = u->tenants_n;

    if (!u->tenants)
        return true;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = strncmp(u->tenants[mid], tenant.p ? tenant.p : "", tenant.n);

        if (c == 0 && strlen(u->tenants[mid]) == tenant.n)
            return true;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return false;
}
