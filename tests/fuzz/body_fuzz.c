/* Any bytes as a body of any encoding, under a small ceiling: refused, or at most that many bytes, and never more memory asked for than was announced.
 * First byte: the encoding. */
#include "distributor/body.h"

#include <stdlib.h>

enum { CEILING = 1 << 18 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int charge(void *arg, size_t bytes, UNUSED struct err *err)
{
    *(size_t *)arg += bytes;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t charged = 0;
    struct body_budget budget = {.inflated_max = CEILING, .charge = charge, .arg = &charged};
    struct buf out;
    int rc;

    if (size == 0)
        return 0;
    rc = body_inflate((enum body_encoding)(1u << (data[0] % 4)), str_n(data + 1, size - 1), &budget, &out, NULL);
    if (charged > CEILING + 1 || out.cap > MAX(charged, (size_t)64) || (rc == 0 && out.n > CEILING))
        abort();
    buf_fini(&out);
    return 0;
}
