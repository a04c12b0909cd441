#include "common/shim/shim_rocksdb.h"

#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <memory>
#include <rocksdb/cache.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <rocksdb/options.h>
#include <rocksdb/sst_file_reader.h>
#include <rocksdb/table.h>
#include <string>

namespace rdb = ROCKSDB_NAMESPACE;

static thread_local int last_read_rc;

/* One open table's source of bytes. SstFileReader opens by name only, so the name carries the address of this struct
 * (see TableFs); it exists before the open and outlives the reader. */
struct source {
    shim_read_fn *read;
    void *arg;
    uint64_t size;
};

class SourceFile : public rdb::FSRandomAccessFile {
  public:
    explicit SourceFile(const source *src) : src_(src) {}
    rdb::IOStatus Read(uint64_t offset, size_t n, const rdb::IOOptions &, rdb::Slice *result, char *scratch,
                       rdb::IODebugContext *) const override
    {
        char why[SHIM_WHY_MAX] = "";
        size_t want = offset >= src_->size ? 0 : (size_t)std::min<uint64_t>(n, src_->size - offset);
        int rc = want ? src_->read(src_->arg, offset, want, scratch, why) : 0;
        if (rc < 0) {
            last_read_rc = rc;
            *result = rdb::Slice();
            return rdb::IOStatus::IOError(why);
        }
        *result = rdb::Slice(scratch, want);
        return rdb::IOStatus::OK();
    }

  private:
    const source *src_;
};

class TableFs : public rdb::FileSystemWrapper {
  public:
    TableFs() : FileSystemWrapper(rdb::FileSystem::Default()) {}
    const char *Name() const override { return "torc"; }
    static std::string name_of(const source *src)
    {
        char name[64];
        snprintf(name, sizeof name, "/torc/%" PRIxPTR ".sst", (uintptr_t)src);
        return name;
    }
    rdb::IOStatus NewRandomAccessFile(const std::string &name, const rdb::FileOptions &,
                                      std::unique_ptr<rdb::FSRandomAccessFile> *ret, rdb::IODebugContext *) override
    {
        ret->reset(new SourceFile(source_of(name)));
        return rdb::IOStatus::OK();
    }
    rdb::IOStatus GetFileSize(const std::string &name, const rdb::IOOptions &, uint64_t *ret,
                              rdb::IODebugContext *) override
    {
        *ret = source_of(name)->size;
        return rdb::IOStatus::OK();
    }

  private:
    static const source *source_of(const std::string &name)
    {
        uintptr_t p = 0;
        ASSERT(sscanf(name.c_str(), "/torc/%" SCNxPTR ".sst", &p) == 1 && p != 0);
        return (const source *)p;
    }
};

struct shim_cache {
    std::shared_ptr<rdb::Cache> blocks;
    std::unique_ptr<rdb::Env> env;
    rdb::Options options;
};

struct shim_table {
    source src;
    std::unique_ptr<rdb::SstFileReader> reader;
};

struct shim_iter {
    std::unique_ptr<rdb::Iterator> it;
};

static int fail(const rdb::Status &s, char *why)
{
    snprintf(why, SHIM_WHY_MAX, "%s", s.ToString().c_str());
    if (last_read_rc < 0 || s.IsIOError() || s.IsMemoryLimit() || s.IsAborted() || s.IsTimedOut())
        return SHIM_IO;
    return SHIM_CORRUPT;
}

/* Runs f; neither a status nor an exception (memory) gets past this. */
template <typename F> static int guarded(char *why, F f)
{
    last_read_rc = 0;
    try {
        return f();
    } catch (const std::exception &e) {
        snprintf(why, SHIM_WHY_MAX, "%s", e.what());
        return SHIM_IO;
    }
}

extern "C" int shim_read_rc(void)
{
    return last_read_rc;
}

extern "C" struct shim_cache *shim_cache_new(size_t bytes)
{
    auto *c = new shim_cache;
    rdb::BlockBasedTableOptions table;
    c->blocks = rdb::NewLRUCache(bytes);
    c->env = rdb::NewCompositeEnv(std::make_shared<TableFs>());
    table.block_cache = c->blocks;
    table.cache_index_and_filter_blocks = true; /* else each open table holds its index outside the budget */
    c->options.table_factory.reset(rdb::NewBlockBasedTableFactory(table));
    c->options.env = c->env.get();
    return c;
}

extern "C" void shim_cache_free(struct shim_cache *c)
{
    delete c;
}

extern "C" void shim_cache_resize(struct shim_cache *c, size_t bytes)
{
    c->blocks->SetCapacity(bytes);
}

extern "C" size_t shim_cache_used(const struct shim_cache *c)
{
    return c->blocks->GetUsage();
}

extern "C" int shim_table_open(struct shim_cache *c, shim_read_fn *read, void *arg, uint64_t size,
                               struct shim_table **ret, char why[SHIM_WHY_MAX])
{
    return guarded(why, [&]() -> int {
        std::unique_ptr<shim_table> t(new shim_table{{read, arg, size}, nullptr});
        t->reader.reset(new rdb::SstFileReader(c->options));
        rdb::Status s = t->reader->Open(TableFs::name_of(&t->src));
        if (!s.ok())
            return fail(s, why);
        *ret = t.release();
        return SHIM_OK;
    });
}

extern "C" void shim_table_close(struct shim_table *t)
{
    delete t;
}

extern "C" int shim_table_verify(struct shim_table *t, char why[SHIM_WHY_MAX])
{
    return guarded(why, [&]() -> int {
        rdb::ReadOptions opt;
        opt.verify_checksums = true;
        opt.fill_cache = false;
        opt.readahead_size = 1 << 20;
        rdb::Status s = t->reader->VerifyChecksum(opt);
        return s.ok() ? SHIM_OK : fail(s, why);
    });
}

extern "C" void shim_table_info(const struct shim_table *t, struct shim_table_info *ret)
{
    auto p = t->reader->GetTableProperties();
    *ret = {p->num_entries, p->data_size, p->raw_key_size, p->raw_value_size};
}

extern "C" int shim_iter_new(struct shim_table *t, size_t readahead, bool fill_cache, struct shim_iter **ret,
                             char why[SHIM_WHY_MAX])
{
    return guarded(why, [&]() -> int {
        rdb::ReadOptions opt;
        opt.verify_checksums = true;
        opt.fill_cache = fill_cache;
        opt.readahead_size = readahead;
        std::unique_ptr<shim_iter> it(new shim_iter);
        it->it.reset(t->reader->NewIterator(opt));
        if (!it->it->status().ok())
            return fail(it->it->status(), why);
        *ret = it.release();
        return SHIM_OK;
    });
}

extern "C" void shim_iter_free(struct shim_iter *it)
{
    delete it;
}

static int where(const shim_iter *it, char *why)
{
    if (it->it->Valid())
        return 1;
    return it->it->status().ok() ? 0 : fail(it->it->status(), why);
}

extern "C" int shim_iter_seek(struct shim_iter *it, struct str key, char why[SHIM_WHY_MAX])
{
    return guarded(why, [&]() -> int {
        it->it->Seek(rdb::Slice(key.p ? key.p : "", key.n));
        return where(it, why);
    });
}

extern "C" int shim_iter_next(struct shim_iter *it, char why[SHIM_WHY_MAX])
{
    return guarded(why, [&]() -> int {
        ASSERT(it->it->Valid());
        it->it->Next();
        return where(it, why);
    });
}

extern "C" struct str shim_iter_key(const struct shim_iter *it)
{
    rdb::Slice s = it->it->key();
    return {s.data(), s.size()};
}

extern "C" struct str shim_iter_value(const struct shim_iter *it)
{
    rdb::Slice s = it->it->value();
    return {s.data(), s.size()};
}
