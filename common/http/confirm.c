#include "common/http/confirm.h"
#include "common/base/hash.h"
#include "common/base/json.h"
#include "common/http/html.h"
#include "common/http/http_impl.h"
#include "common/sys/clock.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>

enum { TOKEN_HOUR_MS = 3600 * 1000, PAGE_BYTES_MAX = 1 << 20 };

static void token_make(const struct http_server *s, struct str path, int64_t hour,
                       char ret[HTTP_CONFIRM_TOKEN_SIZE])
{
    uint8_t mac[32];
    struct buf text;

    buf_init(&text, HTTP_URI_BYTES_MAX + 64);
    buf_u64(&text, (uint64_t)hour);
    buf_str(&text, path);
    ASSERT(buf_ok(&text));
    ASSERT(gnutls_hmac_fast(GNUTLS_MAC_SHA256, s->secret, sizeof s->secret, text.p, text.n, mac) == 0);
    buf_fini(&text);
    hex_put(ret, mac, (HTTP_CONFIRM_TOKEN_SIZE - 1) / 2);
}

static int64_t hour_now(void)
{
    return clock_mono_ms(clock_system()) / TOKEN_HOUR_MS;
}

void http_confirm_token(const struct http_req *req, struct str path, char ret[HTTP_CONFIRM_TOKEN_SIZE])
{
    token_make(req->server, path, hour_now(), ret);
}

static bool token_is(const struct http_req *req, struct str token, int64_t hour)
{
    char want[HTTP_CONFIRM_TOKEN_SIZE];

    token_make(req->server, req->path, hour, want);
    return token.n == sizeof want - 1 && gnutls_memcmp(token.p, want, token.n) == 0;
}

static bool shows_a_browser(const struct http_req *req)
{
    static const char *const signs[] = {"Origin", "Referer", "Cookie", "Sec-Fetch-Site"};

    for (size_t i = 0; i < ARRAY_LEN(signs); i++)
        if (http_header(req, signs[i]).p)
            return true;
    return false;
}

bool req_confirmed(const struct http_req *req)
{
    struct str token = http_param(req, HTTP_CONFIRM_PARAM);
    int64_t hour = hour_now();

    if (token.p)
        return token_is(req, token, hour) || token_is(req, token, hour - 1);
    return str_eqz(http_header(req, HTTP_CONFIRM_HEADER), "yes") || !shows_a_browser(req);
}

/* --- forms --- */

static void hidden(struct buf *out, const char *name, const char *value)
{
    buf_z(out, "<input type=\"hidden\" name=\"");
    html_str(out, str_of(name));
    buf_z(out, "\" value=\"");
    html_str(out, str_of(value));
    buf_z(out, "\">\n");
}

void html_form_begin(struct buf *out, const struct http_req *req, const char *action)
{
    char token[HTTP_CONFIRM_TOKEN_SIZE];

    http_confirm_token(req, str_of(action), token);
    buf_z(out, "<form method=\"post\" action=\"");
    html_str(out, str_of(action));
    buf_z(out, "\">\n");
    hidden(out, HTTP_CONFIRM_PARAM, token);
}

void html_form_hidden(struct buf *out, const char *name, const char *value)
{
    hidden(out, name, value);
}

void html_form_text(struct buf *out, const char *name, const char *label, const char *value)
{
    buf_z(out, "<label>");
    html_str(out, str_of(label));
    buf_z(out, " <input type=\"text\" name=\"");
    html_str(out, str_of(name));
    buf_z(out, "\" value=\"");
    html_str(out, str_of(value));
    buf_z(out, "\"></label>\n");
}

void html_form_end(struct buf *out, const char *button)
{
    buf_z(out, "<button type=\"submit\">");
    html_str(out, str_of(button));
    buf_z(out, "</button>\n</form>\n");
}

void http_reply_form(struct http_req *req, const char *title, const char *does, const char *button)
{
    bool json = http_accepts(req, "application/json");
    char *path = str_dupz(req->path);
    struct buf out;

    buf_init(&out, PAGE_BYTES_MAX);
    if (json) {
        buf_z(&out, "{\"method\":\"POST\",\"path\":");
        json_z(&out, path);
        buf_z(&out, ",\"does\":");
        json_z(&out, does);
        buf_z(&out, "}\n");
    } else {
        html_begin(&out, title);
        buf_z(&out, "<p>");
        html_str(&out, str_of(does));
        buf_z(&out, "</p>\n");
        html_form_begin(&out, req, path);
        html_form_end(&out, button);
        html_end(&out);
    }
    free(path);
    http_reply_buf(req, 200, json ? HTTP_TYPE_JSON : HTTP_TYPE_HTML, &out);
    buf_fini(&out);
}
