/* seeds.h - the seed list of gossip: names of this cluster's members, and the addresses that they stand for now.
 *   host:port        every A and AAAA record of host, each with this port (as a headless Service of Kubernetes has one for each pod);
 *   dns+host:port    the same, as it is written for Mimir;
 *   dnssrv+NAME      every SRV record of NAME: its target's addresses, each with the record's port. A bare NAME is asked as
 *                    it stands, so it has its underscores: _rpc._tcp.torc-gossip.default.svc.cluster.local
 * A name that cannot be looked up keeps the answer that it had last; one that was never found is tried as it stands.
 * Pure but for seed_lookup, which asks the system's resolver and may block for many seconds.   Threads: one at a time. */
#pragma once
#include "common/base/err.h"
#include "common/base/vec.h"
#include "common/base/str.h"

enum {
    SEED_BYTES_MAX  = 255, /* of one, with prefix and port */
    SEED_ADDRS_MAX  = 256, /* of one name: what an answer has beyond is left out */
    SEEDS_ADDRS_MAX = 1024, /* of all */
};

enum seed_kind { SEED_FIXED /* a numeric address: never looked up */, SEED_HOST, SEED_SRV };

struct seed_addr {
    char text[SEED_BYTES_MAX + 1]; /* "10.0.0.7:9095", "[fd00::7]:9095" */
};
typedef VEC(struct seed_addr) seed_addrs;

struct seed {
    enum seed_kind kind;
    char name[SEED_BYTES_MAX + 1]; /* without prefix and port */
    char port[8];                  /* of SEED_SRV: empty */
    char text[SEED_BYTES_MAX + 1]; /* name and port as they stand: for one that was never found */
    seed_addrs addrs;              /* the last good answer */
};
struct seeds {
    VEC(struct seed) list;
};

/* RC_INVALID names the seed and what is wrong with it. */
int seeds_init(struct seeds *s, const char *const *texts, size_t n, struct err *err);
void seeds_fini(struct seeds *s);
/* Some name has to be looked up. */
bool seeds_have_names(const struct seeds *s);
/* What a look-up of seed i brought (copied). Nothing (n 0) keeps what was. True: it differs. */
bool seeds_answer(struct seeds *s, size_t i, const struct seed_addr *addrs, size_t n);
/* All addresses, distinct, in order of the seeds. */
void seeds_addrs(const struct seeds *s, seed_addrs *ret);

/* Asks for the addresses of one seed, sorted; blocks. RC_UNAVAILABLE names the seed. ret is empty then. */
int seed_lookup(const struct seed *s, seed_addrs *ret, struct err *err);
