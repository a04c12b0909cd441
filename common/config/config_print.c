#include "common/base/json.h"
#include "common/config/config_impl.h"

#include <stdlib.h>

static const char secret_mask[] = "********";

static bool is_empty(const struct config_item *item)
{
    struct buf text;
    bool empty;

    buf_init(&text, OPT_TEXT_BYTES_MAX * 2);
    option_print(item->option, item->base, &text);
    empty = text.n == 0;
    buf_fini(&text);
    return empty;
}

/* Needs no quotes in YAML, and is not what our own reader takes for "no value". */
static bool is_plain(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (!(c >= '0' && c <= '9') && !((c | 0x20) >= 'a' && (c | 0x20) <= 'z') &&
            !(i && strchr("._-/", c)))
            return false;
    }
    return s.n && !str_eqz(s, "null");
}

/* JSON's scalars and flow sequences are YAML's too, so one printer serves both. */
static void put_value(struct buf *out, const struct config_item *item, bool yaml)
{
    const void *at = (const char *)item->base + item->option->offset;
    const struct opt_list *list = at;
    struct buf text;

    if (item->option->secret && !is_empty(item)) {
        json_z(out, secret_mask);
        return;
    }
    if (item->option->type == OPT_LIST) {
        buf_char(out, '[');
        for (size_t i = 0; i < list->n; i++) {
            buf_z(out, i ? ", " : "");
            json_z(out, list->v[i]);
        }
        buf_char(out, ']');
        return;
    }
    buf_init(&text, OPT_TEXT_BYTES_MAX * 2);
    option_print(item->option, item->base, &text);
    if (item->option->type == OPT_BOOL || item->option->type == OPT_INT ||
        (yaml && is_plain(buf_view(&text))))
        buf_str(out, buf_view(&text));
    else
        json_str(out, buf_view(&text));
    buf_fini(&text);
}

/* Opens the sections of name that the previous name did not open; returns the depth of its key. */
static size_t put_sections(struct buf *out, struct str previous, struct str name)
{
    size_t depth = 0, start = 0;
    bool same = true;

    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] != '.')
            continue;
        same = same && previous.n > i && previous.p[i] == '.' && memcmp(previous.p, name.p, i) == 0;
        if (!same)
            buf_printf(out, "%*s%.*s:\n", (int)(2 * depth), "", (int)(i - start), name.p + start);
        depth++;
        start = i + 1;
    }
    return depth;
}

void config_print_yaml(const struct config *c, bool diff, struct buf *out)
{
    struct str previous = STR("");

    for (size_t i = 0; i < c->items.n; i++) {
        const struct config_item *item = &c->items.v[i];
        struct str name = str_of(item->name);
        const char *dot = strrchr(item->name, '.');
        size_t depth;

        if (item->option->flag_only || (diff && option_is_default(item->option, item->base)))
            continue;
        depth = put_sections(out, previous, name);
        buf_printf(out, "%*s%s: ", (int)(2 * depth), "", dot ? dot + 1 : item->name);
        put_value(out, item, true);
        buf_char(out, '\n');
        previous = name;
    }
}

void config_print_json(const struct config *c, bool diff, struct buf *out)
{
    bool first = true;

    buf_char(out, '{');
    for (size_t i = 0; i < c->items.n; i++) {
        const struct config_item *item = &c->items.v[i];

        if (diff && option_is_default(item->option, item->base))
            continue;
        buf_z(out, first ? "" : ",");
        first = false;
        json_key(out, item->name);
        put_value(out, item, false);
    }
    buf_z(out, "}\n");
}

void config_print_flags(const struct config *c, struct buf *out)
{
    buf_char(out, '{');
    for (size_t i = 0; i < c->items.n; i++) {
        const struct config_item *item = &c->items.v[i];
        struct buf text;

        buf_init(&text, OPT_TEXT_BYTES_MAX * 2);
        if (item->option->secret && !is_empty(item))
            buf_z(&text, secret_mask);
        else
            option_print(item->option, item->base, &text);
        buf_z(out, i ? "," : "");
        json_key(out, item->name);
        json_str(out, buf_view(&text));
        buf_fini(&text);
    }
    buf_char(out, '}');
}

static struct str section_of(const struct config_item *item)
{
    struct str name = str_of(item->name);
    size_t dot = str_find(name, '.');

    return dot < name.n ? str_sub(name, 0, dot) : STR("");
}

static void put_enum_values(struct buf *out, const struct option *o, const char *separator)
{
    for (int i = 0; o->values[i]; i++)
        buf_printf(out, "%s%s", i ? separator : "", o->values[i]);
}

static void put_range(struct buf *out, const struct option *o)
{
    if (o->type == OPT_ENUM)
        put_enum_values(out, o, ", ");
    else if (o->min && o->max)
        buf_printf(out, "%s to %s", o->min, o->max);
    else if (o->min)
        buf_printf(out, "%s or more", o->min);
    else if (o->max)
        buf_printf(out, "%s or less", o->max);
}

void config_print_help(const struct config *c, struct buf *out)
{
    struct str section = {NULL, 1};

    for (size_t i = 0; i < c->items.n; i++) {
        const struct config_item *item = &c->items.v[i];
        const struct option *o = item->option;
        struct str here = section_of(item);

        if (!section.p || !str_eq(here, section)) {
            buf_printf(out, "%s%.*s\n", i ? "\n" : "", STR_FMT(here.n ? here : STR("general")));
            section = here;
        }
        buf_printf(out, "  --%s=<%s>", item->name, opt_type_name(o->type));
        if (o->def && *o->def)
            buf_printf(out, " (default %s)", o->def);
        buf_printf(out, "\n        %s\n", o->doc ? o->doc : "");
        if (o->type == OPT_ENUM || o->min || o->max) {
            buf_z(out, "        Values: ");
            put_range(out, o);
            buf_char(out, '\n');
        }
    }
}

static void put_doc_row(struct buf *out, const struct config_item *item)
{
    const struct option *o = item->option;

    buf_printf(out, "| `%s` | %s | ", item->name, opt_type_name(o->type));
    if (o->def && *o->def)
        buf_printf(out, "`%s`", o->def);
    buf_z(out, " | ");
    put_range(out, o);
    buf_printf(out, " | %s | %s", o->reload ? "yes" : "no", o->doc ? o->doc : "");
    if (o->enforced)
        buf_printf(out, " Enforced by: %s.", o->enforced);
    if (o->reason)
        buf_printf(out, " Discard reason: `%s`.", o->reason);
    if (o->secret)
        buf_z(out, " Secret: masked where shown.");
    if (o->flag_only)
        buf_z(out, " Flag only.");
    buf_z(out, " |\n");
}

void config_print_docs(const struct config *c, struct buf *out)
{
    struct str section = {NULL, 1};

    buf_z(out, "# Configuration\n\nEvery option is a YAML key (dots make sections), a flag "
               "(`--name=value` or `-name value`) and an "
               "environment variable (`TORC_` and the name in capitals, other characters as "
               "`_`).\nLater sources win: defaults, file, "
               "environment, flags. In the file `${VAR}` and `${VAR:default}` are replaced before "
               "parsing.\n");
    for (size_t i = 0; i < c->items.n; i++) {
        struct str here = section_of(&c->items.v[i]);

        if (!section.p || !str_eq(here, section)) {
            buf_printf(out,
                       "\n## %.*s\n\n| option | type | default | values | live reload | meaning "
                       "|\n|---|---|---|---|---|---|\n",
                       STR_FMT(here.n ? here : STR("general")));
            section = here;
        }
        put_doc_row(out, &c->items.v[i]);
    }
}

/* The children of the section name.p[0, prefix) from item i on; returns the first item outside it.
 */
static size_t put_schema(const struct config *c, size_t i, size_t prefix, struct buf *out)
{
    const char *section = c->items.v[i].name;
    bool first = true;

    buf_z(out, "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{");
    while (i < c->items.n && strncmp(c->items.v[i].name, section, prefix) == 0) {
        const struct config_item *item = &c->items.v[i];
        struct str rest = str_skip(str_of(item->name), prefix);
        size_t dot = str_find(rest, '.');

        if (item->option->flag_only) {
            i++;
            continue;
        }
        buf_z(out, first ? "" : ",");
        first = false;
        json_str(out, str_sub(rest, 0, dot));
        buf_char(out, ':');
        if (dot < rest.n) {
            i = put_schema(c, i, prefix + dot + 1, out);
            continue;
        }
        buf_z(out, item->option->type == OPT_BOOL  ? "{\"type\":\"boolean\""
                   : item->option->type == OPT_INT ? "{\"type\":\"integer\""
                   : item->option->type == OPT_LIST
                       ? "{\"type\":[\"array\",\"string\"],\"items\":{\"type\":\"string\"}"
                       : "{\"type\":[\"string\",\"number\"]");
        if (item->option->type == OPT_ENUM) {
            buf_z(out, ",\"enum\":[\"");
            put_enum_values(out, item->option, "\",\"");
            buf_z(out, "\"]");
        }
        buf_z(out, ",\"description\":");
        json_z(out, item->option->doc ? item->option->doc : "");
        buf_char(out, '}');
        i++;
    }
    buf_z(out, "}}");
    return i;
}

void config_print_schema(const struct config *c, struct buf *out)
{
    if (c->items.n)
        put_schema(c, 0, 0, out);
    buf_char(out, '\n');
}
