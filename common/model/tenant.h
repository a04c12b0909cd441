/* tenant.h - tenant ids: at most 150 bytes of [A-Za-z0-9!._*'()-], not "." or "..", as Mimir and Cortex have it. */
#pragma once
#include "common/base/err.h"
#include "common/base/str.h"

enum { TENANT_ID_BYTES_MAX = 150, TENANT_FEDERATION_MAX = 32 };
#define TENANT_DEFAULT "anonymous"

int tenant_id_check(struct str id, struct err *err); /* RC_INVALID names the id and the rule */
