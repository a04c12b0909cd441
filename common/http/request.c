#include "common/http/http_impl.h"

#include <arpa/inet.h>
#include <stdlib.h>

enum { OWS_MAX = 64 }; /* white space before a header's value */

enum http_method method_of(const char *text)
{
    static const char *const names[] = {"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"};

    _Static_assert(ARRAY_LEN(names) == HTTP_METHOD_COUNT, "a name for each method");
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(text, names[i]) == 0)
            return (enum http_method)i;
    return HTTP_METHOD_COUNT;
}

/* RFC 9110 5.6.2 */
static bool is_token(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if (c <= ' ' || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c))
            return false;
    }
    return s.n > 0;
}

static bool is_field_value(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if ((c < ' ' && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

struct collect {
    struct http_req *req;
    bool overflow, bad;
};

static enum MHD_Result collect_header(void *arg, UNUSED enum MHD_ValueKind kind, const char *name,
                                      size_t name_n, const char *value, size_t value_n)
{
    struct collect *c = arg;
    struct http_req *req = c->req;
    struct http_header h = {str_n(name, name_n), value ? str_n(value, value_n) : STR("")};

    if (req->header_count == HTTP_HEADERS_MAX) {
        c->overflow = true;
        return MHD_NO;
    }
    if (!is_token(h.name) || !is_field_value(h.value))
        c->bad = true;
    req->headers[req->header_count++] = h;
    return MHD_YES;
}

/* Two of these in one request mean that two readers may believe different things. */
static int check_singletons(const struct http_req *req, struct err *err)
{
    static const char *const names[] = {
        "Host",          "Content-Length",   "Transfer-Encoding",
        "Content-Type",  "Content-Encoding", "Authorization",
        "X-Scope-OrgID", "Expect",           "X-Prometheus-Remote-Write-Version"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        size_t seen = 0;

        for (size_t j = 0; j < req->header_count; j++)
            seen += str_ieq(req->headers[j].name, str_of(names[i]));
        if (seen > 1)
            return err_set(err, RC_INVALID, "header %s is repeated", names[i]);
    }
    return 0;
}

static int check_framing(const struct http_req *req, struct err *err)
{
    struct str length = http_header(req, "Content-Length"),
               te = http_header(req, "Transfer-Encoding");

    if (te.p && length.p)
        return err_set(err, RC_INVALID, "both Content-Length and Transfer-Encoding");
    if (te.p && !str_ieq(te, STR("chunked")))
        return err_set(err, RC_INVALID, "Transfer-Encoding other than chunked");
    if (length.p && (length.n == 0 || length.n > 18))
        return err_set(err, RC_INVALID, "malformed Content-Length");
    for (size_t i = 0; i < length.n; i++)
        if (length.p[i] < '0' || length.p[i] > '9')
            return err_set(err, RC_INVALID, "malformed Content-Length");
    return 0;
}

/* A segment "." or "..", also escaped: no route needs it, and whatever joins paths later need not
 * think of it. */
static bool has_dot_segment(struct str path)
{
    while (path.n) {
        size_t dots = 0;
        bool other = false;

        path = str_skip(path, 1);
        while (path.n && path.p[0] != '/') {
            bool escaped =
                path.n >= 3 && path.p[0] == '%' && path.p[1] == '2' && (path.p[2] | 0x20) == 'e';

            if (path.p[0] == '.' || escaped)
                dots++;
            else
                other = true;
            path = str_skip(path, escaped ? 3 : 1);
        }
        if (!other && (dots == 1 || dots == 2))
            return true;
    }
    return false;
}

/* Splits the target; an absolute one (RFC 9112 3.2.2) must name the same host as the Host header.
 */
static int check_target(struct http_req *req, struct err *err)
{
    struct str target = str_of(req->uri), host = http_header(req, "Host");
    size_t end;

    for (size_t i = 0; i < target.n; i++)
        if ((unsigned char)target.p[i] <= ' ' || (unsigned char)target.p[i] >= 0x7f ||
            target.p[i] == '#')
            return err_set(err, RC_INVALID, "malformed request target");
    if (target.n >= 7 && str_ieq(str_sub(target, 0, 7), STR("http://"))) {
        target = str_skip(target, 7);
        end = MIN(str_find(target, '/'), str_find(target, '?'));
        if (!host.p || !str_ieq(str_sub(target, 0, end), host))
            return err_set(err, RC_INVALID, "request target and Host disagree");
        target = str_skip(target, end);
    }
    end = str_find(target, '?');
    req->path = str_sub(target, 0, end);
    req->query = str_skip(target, MIN(end + 1, target.n));
    if (req->path.n == 0 || req->path.p[0] != '/' || has_dot_segment(req->path))
        return err_set(err, RC_INVALID, "malformed request path");
    return 0;
}

/* Did libmicrohttpd see the same lines as everybody else? It takes a lone LF for a line's end,
 * folds continuation lines, cuts values at NUL bytes and takes a line that begins with ':' for the
 * end of the headers, each a way to slip one request past a proxy inside another. It parses in
 * place and hands out pointers into its buffer, so the distances between them show what stood
 * there: method SP target SP version CRLF (name ':' OWS value CRLF)* CRLF, header_size bytes in
 * all. */
static bool layout_is_canonical(const struct http_req *req, const char *method, const char *version)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(req->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    uintptr_t start = (uintptr_t)method, at = (uintptr_t)version + strlen(version) + 2;

    if ((uintptr_t)version != start + strlen(method) + 1 + strlen(req->uri) + 1)
        return false;
    for (size_t i = 0; i < req->header_count; i++) {
        const struct http_header *h = &req->headers[i];
        uintptr_t value = (uintptr_t)h->value.p, name_end = (uintptr_t)h->name.p + h->name.n;

        if ((uintptr_t)h->name.p != at || value < name_end + 1 || value > name_end + 1 + OWS_MAX)
            return false;
        at = value + h->value.n + 2;
    }
    return info && info->header_size == at + 2 - start;
}

int req_check(struct http_req *req, const char *method, const char *version, struct err *err)
{
    struct collect c = {.req = req};
    int rc;

    MHD_get_connection_values_n(req->mhd, MHD_HEADER_KIND, collect_header, &c);
    if (c.overflow)
        return err_set(err, RC_LIMIT, "more than %d headers", HTTP_HEADERS_MAX);
    if (c.bad)
        return err_set(err, RC_INVALID, "malformed header");
    if (!layout_is_canonical(req, method, version))
        return err_set(err, RC_INVALID, "malformed request framing");
    rc = check_singletons(req, err);
    if (rc == 0)
        rc = check_framing(req, err);
    if (rc == 0)
        rc = check_target(req, err);
    return rc;
}

int req_path_params_decode(struct http_req *req, struct err *err)
{
    for (size_t i = 0; i < HTTP_PATH_PARAMS_MAX; i++) {
        int rc = url_decode(&req->arena, req->path_params[i], false, &req->path_params[i], err);

        if (rc < 0)
            return rc;
    }
    return 0;
}

static bool is_form(struct str type)
{
    return str_ieq(str_trim(str_sub(type, 0, str_find(type, ';'))),
                   STR("application/x-www-form-urlencoded"));
}

int req_params_parse(struct http_req *req, int *ret_status, struct err *err)
{
    int rc = 0;

    if ((req->route->route.flags & HTTP_FORM) && req->body.n) {
        if (!is_form(http_header(req, "Content-Type"))) {
            *ret_status = 415;
            return err_set(err, RC_UNSUPPORTED,
                           "Content-Type must be application/x-www-form-urlencoded");
        }
        rc = url_params_parse(&req->arena, buf_view(&req->body), &req->params, err);
    }
    if (rc == 0)
        rc = url_params_parse(&req->arena, req->query, &req->params, err);
    *ret_status = rc == RC_NOMEM ? 413 : 400;
    return rc;
}

enum http_method http_method(const struct http_req *req)
{
    return req->method;
}

struct str http_path(const struct http_req *req)
{
    return req->path;
}

struct str http_query_text(const struct http_req *req)
{
    return req->query;
}

struct str http_path_param(const struct http_req *req, const char *name)
{
    size_t at = 0;

    for (size_t i = 0; i < req->route->segment_count; i++) {
        struct str s = req->route->segments[i];

        if (s.n == 1 && s.p[0] == '*')
            return strcmp(name, "*") == 0 ? req->path_params[at] : (struct str){0};
        if (s.n > 2 && s.p[0] == '{') {
            if (str_eqz(str_sub(s, 1, s.n - 1), name))
                return req->path_params[at];
            at++;
        }
    }
    return (struct str){0};
}

struct str http_param(const struct http_req *req, const char *name)
{
    return url_params_get(&req->params, str_of(name));
}

const struct url_params *http_params(const struct http_req *req)
{
    return &req->params;
}

struct str http_header(const struct http_req *req, const char *name)
{
    for (size_t i = 0; i < req->header_count; i++)
        if (str_ieq(req->headers[i].name, str_of(name)))
            return req->headers[i].value;
    return (struct str){0};
}

struct str http_body(const struct http_req *req)
{
    return buf_view(&req->body);
}

const char *http_client_address(const struct http_req *req)
{
    return req->conn->address;
}

const char *http_request_id(const struct http_req *req)
{
    return req->id;
}

const char *http_route_pattern(const struct http_req *req)
{
    return req->route ? req->route->route.pattern : "other";
}

int64_t http_received_mono_ns(const struct http_req *req)
{
    return req->received_ns;
}

int64_t http_waited_ns(const struct http_req *req)
{
    return conn_silent_ms(req->conn) * 1000000;
}

void http_cancel(struct http_req *req)
{
    atomic_store(&req->conn->cancel, true);
}

const _Atomic bool *http_cancel_flag(const struct http_req *req)
{
    return &req->conn->cancel;
}

/* Elements of a comma list, without their ";q=..." part unless that says q=0. */
static bool list_has(struct str list, struct str want)
{
    while (list.n) {
        size_t end = str_find(list, ',');
        struct str item = str_trim(str_sub(list, 0, end));
        size_t name_end = str_find(item, ';');
        struct str quality = str_trim(str_skip(item, MIN(name_end + 1, item.n)));

        list = str_skip(list, MIN(end + 1, list.n));
        if (!str_ieq(str_trim(str_sub(item, 0, name_end)), want))
            continue;
        if (quality.n >= 3 && str_ieq(str_sub(quality, 0, 2), STR("q="))) {
            struct str q = str_skip(quality, 2);

            while (q.n && (q.p[0] == '0' || q.p[0] == '.'))
                q = str_skip(q, 1);
            if (q.n == 0 || q.p[0] < '0' || q.p[0] > '9')
                return false;
        }
        return true;
    }
    return false;
}

bool http_accepts(const struct http_req *req, const char *media_type)
{
    return list_has(http_header(req, "Accept"), str_of(media_type));
}

bool http_wants_html(const struct http_req *req)
{
    return http_accepts(req, "text/html") && !http_accepts(req, "application/json");
}

bool http_accepts_gzip(const struct http_req *req)
{
    struct str list = http_header(req, "Accept-Encoding");

    return list_has(list, STR("gzip"));
}

enum http_role http_req_role(const struct http_req *req)
{
    return req->route->role;
}

void http_req_user(struct http_req *req, const char *name)
{
    struct str copy = arena_str(&req->arena, str_n(name, strlen(name) + 1));

    req->user = copy.p;
}

const char *http_user(const struct http_req *req)
{
    return req->user ? req->user : "";
}

void http_req_tenant(struct http_req *req, struct str tenant)
{
    struct str copy = arena_str(&req->arena, tenant);

    for (size_t i = 0; i < req->header_count; i++)
        if (str_ieq(req->headers[i].name, STR("X-Scope-OrgID"))) { /* there, and empty */
            req->headers[i].value = copy;
            return;
        }
    ASSERT(req->header_count <= HTTP_HEADERS_MAX);
    req->headers[req->header_count++] = (struct http_header){STR("X-Scope-OrgID"), copy};
}

const char *http_trace_id(const struct http_req *req)
{
    return req->trace.trace_id;
}
