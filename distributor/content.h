/* content.h - which message in which encoding a remote-write request says that it carries. The content type alone decides (Remote Write 2.0, "Protocol
 * versions"); the version header does not. Pure. */
#pragma once
#include "distributor/body.h"

struct push_content {
    bool v2; /* io.prometheus.write.v2.Request; else prometheus.WriteRequest */
    enum body_encoding encoding;
};
/* The headers' values, .p NULL when absent: no type is 1.0, no encoding is snappy. RC_UNSUPPORTED: 415. */
int content_negotiate(struct str type, struct str encoding, struct push_content *ret, struct err *err);
