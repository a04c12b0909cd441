/* role.h - who may ask a route, decided by its pattern in one table. What the table does not know is for administrators: a new page is closed until
 * somebody opens it.
 *   open     /ready and the like: anybody, also without a name
 *   metrics  /metrics
 *   write    remote write and OTLP
 *   read     the query API: GET routes below an API prefix, and those POST routes that only ask
 *   rules    changes of rules and alerting
 *   admin    everything else, and whatever has HTTP_CONFIRM
 * Pure. */
#pragma once
#include "common/base/str.h"

enum http_role { HTTP_ROLE_OPEN, HTTP_ROLE_METRICS, HTTP_ROLE_WRITE, HTTP_ROLE_READ, HTTP_ROLE_RULES, HTTP_ROLE_ADMIN, HTTP_ROLES };
const char *http_role_name(enum http_role role);
enum http_role http_role_of(const char *pattern, unsigned methods, unsigned flags);
