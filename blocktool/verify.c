#include "blocktool/tool.h"

/* What is wrong with a block is the answer, not a failure of the command. */
static int verify(struct tool *t, const struct ulid *id, struct err *err)
{
    struct block_reader *r = NULL;
    int rc = block_open(t->bucket, id, &r, err);

    if (rc == 0)
        rc = block_verify(r, err);
    if (rc == 0)
        printf("%s  good  %llu series, %llu samples\n", id->text, (unsigned long long)block_meta(r)->series, (unsigned long long)block_meta(r)->samples);
    block_unref(r);
    if (rc != RC_CORRUPT && rc != RC_NOT_FOUND && rc != RC_VERSION)
        return rc;
    printf("%s  BAD   %s\n", id->text, err_text(err));
    t->wrong = true;
    return 0;
}

static int verify_index(struct tool *t, const char *tenant, struct err *err)
{
    struct index ix = {0};
    int rc = index_load(t->bucket, tenant, &ix, err);

    for (size_t i = 0; rc == 0 && i < ix.blocks.n; i++)
        if (!ix.blocks.v[i].deleted_ms)
            rc = verify(t, &ix.blocks.v[i].id, err);
    for (size_t i = 0; rc == 0 && i < ix.quarantined.n; i++) {
        printf("%s  BAD   quarantined: %s\n", ix.quarantined.v[i].id.text, ix.quarantined.v[i].reason);
        t->wrong = true;
    }
    index_fini(&ix);
    return rc;
}

int tool_verify(struct tool *t, struct err *err)
{
    fs_names tenants = {0};
    struct ulid id;
    int rc;

    if (t->arg_count > 0) {
        rc = tool_block(t, 0, &id, err);
        return rc == 0 ? verify(t, &id, err) : rc;
    }
    if (*t->o.tenant)
        return verify_index(t, t->o.tenant, err);
    rc = verify_index(t, NULL, err);
    if (rc == 0)
        rc = index_tenants(t->bucket, &tenants, err);
    for (size_t i = 0; rc == 0 && i < tenants.n; i++)
        rc = verify_index(t, tenants.v[i], err);
    fs_names_free(&tenants);
    return rc;
}
