/* bucket_fs.h - what bucket.c and bucket_fs.c share. */
#pragma once
#include "tsdb/bucket.h"

enum { BUCKET_TEMP_SUFFIX = 5 + 16 }; /* ".tmp-" and 16 hex digits, as common/sys/fs.c names them */
bool bucket_temp_name(struct str name);
