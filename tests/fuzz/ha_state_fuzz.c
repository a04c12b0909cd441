/* Any bytes as what another distributor says of an HA cluster: what is accepted encodes to the same bytes, and a core that learns it follows at most one replica. */
#include "distributor/ha_core.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void ignore(UNUSED void *self, UNUSED struct str cluster, UNUSED const struct ha_elected *e)
{
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const struct ha_rules rules = {30000, 15000, 5000, 500};
    uint64_t epoch = n ? data[0] % 4 + 1 : 1;
    struct str value = n ? str_n(data + 1, n - 1) : (struct str){0};
    struct ha_core *c;
    struct ha_elected e;
    struct ha_write w;
    struct buf again;
    struct err err = {0};
    uint16_t mine;

    if (ha_elected_decode(epoch, value, &e, &err) < 0) {
        ASSERT(err.rc < 0 && err.text[0]);
        return 0;
    }
    buf_init(&again, 2048);
    ha_elected_encode(&e, &again);
    ASSERT(str_eq(buf_view(&again), value));
    buf_fini(&again);
    c = ha_core_new(ignore, NULL, 1);
    mine = ha_core_pair(c, STR("c"), STR("me"));
    ASSERT(ha_core_heard(c, mine, &rules, 1000, 1700000000000) == HA_FOLLOWED);
    ha_core_learn(c, STR("c"), epoch, &e, 2000, 1700000001000);
    ASSERT(ha_core_follows(c, mine) != ha_core_follows(c, ha_core_pair(c, STR("c"), e.replica)) || str_eqz(e.replica, "me"));
    ha_core_heard(c, mine, &rules, 1000000, 1700001000000);
    ha_core_tick(c, 1000000);
    while (ha_core_next_write(c, 1000000, &w))
        ;
    ha_core_free(c);
    return 0;
}
