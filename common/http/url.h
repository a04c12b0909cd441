/* url.h - percent-decoding and form parameters (application/x-www-form-urlencoded, WHATWG URL 5.1,
 * with Go's strictness: a malformed %XX or a raw ';' is an error, because two parsers that disagree
 * about them are a hole). Decoding happens exactly once. Results live in the arena or, where
 * nothing needed decoding, borrow from the input. */
#pragma once
#include "common/base/arena.h"
#include "common/base/err.h"

enum { URL_PARAMS_MAX = 4096, URL_PARAM_NAME_BYTES_MAX = 256 };

struct url_param {
    struct str name, value;
};
struct url_params {
    struct url_param *v; /* in the arena */
    size_t n, cap;
};

/* plus: '+' is a space (form parameters, not paths). RC_INVALID, RC_NOMEM. */
int url_decode(struct arena *a, struct str in, bool plus, struct str *ret, struct err *err);
/* Appends the parameters of "a=1&b=2" to p. RC_INVALID, RC_LIMIT (too many, name too long),
 * RC_NOMEM. Empty pairs are skipped. */
int url_params_parse(struct arena *a, struct str text, struct url_params *p, struct err *err);
/* First value with this name, or .p == NULL. */
struct str url_params_get(const struct url_params *p, struct str name);
