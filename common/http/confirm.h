/* confirm.h - requests that change something by hand (flush, delete, shut down) are made on purpose.
 *
 * A browser sends a form to us for any page that its user looks at (cross-site request forgery), with
 * the user's password if it knows one. So a route with HTTP_CONFIRM takes a method other than GET and HEAD
 * only when one of these holds; else it is 403, and its handler does not run:
 *   - the parameter confirm_token is the token of this path: what our own form carries. An
 *     HMAC-SHA256 under a secret of this process over the path and the hour, valid for one to two hours;
 *   - the header is X-Torc-Confirm: yes. A browser sends a header of that kind to another site only
 *     after asking it (CORS), and we never allow that;
 *   - nothing shows a browser: no Origin, Referer, Cookie or Sec-Fetch-Site. All browsers send Origin
 *     with a POST to another site. So `curl -X POST` of a runbook needs nothing more.
 * Each such request is written to the log with its outcome (message "admin call").
 *
 * A page that shows a form: html_form_begin(), fields, html_form_end(). Behind a load balancer the form must
 * come back to the process that made it; the others answer 403 and say so. */
#pragma once
#include "common/http/http.h"

#define HTTP_CONFIRM_PARAM "confirm_token"
#define HTTP_CONFIRM_HEADER "X-Torc-Confirm"
enum { HTTP_CONFIRM_TOKEN_SIZE = 33 }; /* hex of 128 bits and NUL */

/* The token of a path of this server, as of now. */
void http_confirm_token(const struct http_req *req, struct str path, char ret[HTTP_CONFIRM_TOKEN_SIZE]);

/* <form> that POSTs to action, a path of this server (escaped here), with the token in it. The action is also the
 * path as the route sees it: "/ingester/flush". */
void html_form_begin(struct buf *out, const struct http_req *req, const char *action);
/* A line of text that the user fills in; value may be "". */
void html_form_text(struct buf *out, const char *name, const char *label, const char *value);
void html_form_hidden(struct buf *out, const char *name, const char *value);
/* The button, and the end. */
void html_form_end(struct buf *out, const char *button);

/* GET of a path that wants a POST: a page with what it does (escaped) and its button. For
 * `Accept: application/json` the same as {"method":"POST","path":...,"does":...}. */
void http_reply_form(struct http_req *req, const char *title, const char *does, const char *button);
