/* otlp_value.h - attribute values as label values: text as it stands, numbers and booleans printed, lists and maps as JSON (keys sorted, bytes in base64),
 * as Prometheus prints them. Nesting past OTLP_VALUE_DEPTH_MAX is RC_INVALID. */
#pragma once
#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/wire/otlp.pb-c.h"

enum { OTLP_VALUE_DEPTH_MAX = 32, OTLP_VALUE_BYTES_MAX = 1 << 20 };

/* Text is borrowed from v, all else comes from the arena. v may be NULL: empty. */
int otlp_value_text(struct arena *a, const Torc__Otlp__AnyValue *v, struct str *ret, struct err *err);
