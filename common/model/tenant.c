#include "common/model/tenant.h"

int tenant_id_check(struct str id, struct err *err)
{
    if (id.n == 0)
        return err_set(err, RC_INVALID, "tenant id is empty");
    if (id.n > TENANT_ID_BYTES_MAX)
        return err_set(err, RC_INVALID, "tenant id is too long: %zu bytes, at most %d", id.n, TENANT_ID_BYTES_MAX);
    if (str_eqz(id, ".") || str_eqz(id, ".."))
        return err_set(err, RC_INVALID, "tenant id '%.*s' is not allowed", STR_FMT(id));
    for (size_t i = 0; i < id.n; i++) {
        char c = id.p[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  (c != '\0' && strchr("!._*'()-", c));

        if (!ok)
            return err_set(err, RC_INVALID, "tenant id contains unsupported character 0x%02x at byte %zu",
                           (unsigned)(uint8_t)c, i);
    }
    return 0;
}
