/* The shared credentials file: what is accepted has an id and a secret, written once more it is read the same. */
#include "tsdb/s3_credentials.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct s3_keys k, again;
    struct buf text;

    if (s3_credentials_parse(str_n(data, n), "default", &k, NULL) < 0)
        return 0;
    ASSERT(k.id[0] && k.secret[0]);
    buf_init(&text, 1 << 20);
    buf_printf(&text, "[default]\naws_access_key_id = %s\naws_secret_access_key = %s\naws_session_token = %s\n", k.id, k.secret, k.token);
    ASSERT(s3_credentials_parse(buf_view(&text), "default", &again, NULL) == 0);
    ASSERT(strcmp(k.id, again.id) == 0 && strcmp(k.secret, again.secret) == 0 && strcmp(k.token, again.token) == 0);
    buf_fini(&text);
    return 0;
}
