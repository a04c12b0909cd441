/* otlp_json.h - OTLP's JSON form turned into its protobuf form, field by field, by the descriptors of the generated code; what comes after reads protobuf only.
 * Follows the OTLP rules: keys in lowerCamelCase, unknown ones ignored; ids in hex, other bytes in base64; 64-bit integers as numbers or texts, enums as
 * numbers or names, doubles also as "NaN", "Infinity", "-Infinity". jansson reads the text; what its tree will take is estimated from the text before. */
#pragma once
#include "common/base/buf.h"
#include "common/base/err.h"

enum { OTLP_JSON_DEPTH_MAX = 160, OTLP_JSON_TREE_BYTES_MAX = 256 << 20 };

/* Bytes that the tree of this text can take at most. */
size_t otlp_json_cost(struct str json);
/* An ExportMetricsServiceRequest is appended to out. RC_INVALID names the field; RC_LIMIT: the tree would be too large. */
int otlp_json_request(struct str json, struct buf *out, struct err *err);
