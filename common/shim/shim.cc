#include "common/shim/shim.h"

#include <cmath>
#include <cstring>
#include <double-conversion/double-conversion.h>
#include <memory>
#include <new>
#include <re2/re2.h>
#include <string>
#include <vector>

struct shim_re2 {
    re2::RE2 re;
    shim_re2(const std::string &pattern, const re2::RE2::Options &opt) : re(pattern, opt) {}
};

static re2::StringPiece piece(struct str s)
{
    return re2::StringPiece(s.p ? s.p : "", s.n);
}

/* Names of groups are words of ASCII in Go; s stands behind "(?P<" or "(?<". */
static bool group_name_ok(re2::StringPiece s)
{
    for (size_t i = 0; i < s.size() && s[i] != '>'; i++)
        if ((unsigned char)s[i] >= 0x80)
            return false;
    return true;
}

/* Where Go's syntax and RE2's part: in Go \C (any byte) is an error, (?<name>x) is a group as (?P<name>x) is, names of groups are ASCII, and
 * groups that capture are nested
 * GO_DEPTH_MAX deep at most. NULL, or what Go finds wrong. */
static const char *go_syntax(struct str pattern, std::string *ret)
{
    enum { GO_DEPTH_MAX = 998 };
    const re2::StringPiece s = piece(pattern);
    bool in_class = false;
    std::vector<bool> open; /* groups: whether they capture */
    int depth = 0;          /* of those that do */

    for (size_t i = 0; i < s.size(); i++) {
        size_t from = i;

        if (s[i] == '\\' && i + 1 < s.size()) {
            i++;
            if (s[i] == 'C' && !in_class)
                return "invalid escape sequence: \\C";
            if (s[i] == 'Q' && !in_class) {
                size_t end = s.find("\\E", i);
                i = end == re2::StringPiece::npos ? s.size() - 1 : end + 1;
            }
        } else if (s[i] == '[' && !in_class) {
            in_class = true;
            if (i + 1 < s.size() && s[i + 1] == '^')
                i++;
            if (i + 1 < s.size() && s[i + 1] == ']')
                i++; /* first, it stands for itself */
        } else if (s[i] == ']') {
            in_class = false;
        } else if (!in_class && s[i] == '(') {
            bool named = s.substr(i, 3) == "(?<";

            bool captures = named || s.substr(i, 4) == "(?P<" || s.substr(i, 2) != "(?";

            open.push_back(captures);
            depth += captures;
            if (depth > GO_DEPTH_MAX)
                return "expression nests too deeply";
            if (!group_name_ok(named ? s.substr(i + 3) : s.substr(i, 4) == "(?P<" ? s.substr(i + 4) : ""))
                return "invalid named capture group";
            if (named) {
                ret->append("(?P<");
                i += 2;
                continue;
            }
        } else if (!in_class && s[i] == ')' && !open.empty()) {
            depth -= open.back();
            open.pop_back();
        }
        ret->append(s.data() + from, i + 1 - from);
    }
    return nullptr;
}

extern "C" struct shim_re2 *shim_re2_new(struct str pattern, char *why, size_t why_n)
{
    re2::RE2::Options opt;
    opt.set_log_errors(false);
    opt.set_max_mem(SHIM_RE2_MEM_MAX);
    opt.set_dot_nl(true);
    std::string go;
    const char *wrong = go_syntax(pattern, &go);
    if (wrong) {
        snprintf(why, why_n, "%s", wrong);
        return nullptr;
    }
    /* Compiled as it is, once: every match is anchored at both ends, which is what ^(?s:...)$ would say, and "a)(b" stays wrong. */
    auto *re = new (std::nothrow) shim_re2(go, opt);
    if (re && !re->re.ok()) {
        snprintf(why, why_n, "%s", re->re.error().c_str());
        delete re;
        return nullptr;
    }
    return re;
}

extern "C" void shim_re2_free(struct shim_re2 *re)
{
    delete re;
}

extern "C" int shim_re2_size(const struct shim_re2 *re)
{
    return re->re.ProgramSize();
}

extern "C" bool shim_re2_match(const struct shim_re2 *re, struct str text)
{
    return re->re.Match(piece(text), 0, text.n, re2::RE2::ANCHOR_BOTH, nullptr, 0);
}

extern "C" int shim_re2_groups(const struct shim_re2 *re)
{
    return re->re.NumberOfCapturingGroups();
}

extern "C" bool shim_re2_capture(const struct shim_re2 *re, struct str text, struct str *caps, size_t n)
{
    std::vector<re2::StringPiece> got(n);
    if (!re->re.Match(piece(text), 0, text.n, re2::RE2::ANCHOR_BOTH, got.data(), (int)n))
        return false;
    for (size_t i = 0; i < n; i++)
        caps[i] = {got[i].data(), got[i].size()};
    return true;
}

extern "C" int shim_re2_group_named(const struct shim_re2 *re, struct str name)
{
    const auto &names = re->re.NamedCapturingGroups();
    auto it = names.find(std::string(name.p ? name.p : "", name.n));
    return it == names.end() ? -1 : it->second;
}

extern "C" size_t shim_double_text(double v, bool exponent, char *out)
{
    using double_conversion::DoubleToStringConverter;
    char digits[DoubleToStringConverter::kBase10MaximalLength + 1];
    bool negative;
    int len, point;
    char *p = out;

    if (std::isnan(v)) {
        memcpy(out, "NaN", 3);
        return 3;
    }
    if (std::isinf(v)) {
        memcpy(out, v > 0 ? "+Inf" : "-Inf", 4);
        return 4;
    }
    DoubleToStringConverter::DoubleToAscii(v, DoubleToStringConverter::SHORTEST, 0, digits, sizeof digits, &negative,
                                           &len, &point);
    if (negative)
        *p++ = '-';
    if (v == 0) {
        *p++ = '0';
        return (size_t)(p - out);
    }
    if (exponent && (std::fabs(v) < 1e-6 || std::fabs(v) >= 1e21)) {
        int e = point - 1;
        *p++ = digits[0];
        if (len > 1) {
            *p++ = '.';
            memcpy(p, digits + 1, (size_t)len - 1);
            p += len - 1;
        }
        *p++ = 'e';
        *p++ = e < 0 ? '-' : '+';
        e = std::abs(e);
        if (e >= 100)
            *p++ = (char)('0' + e / 100);
        *p++ = (char)('0' + e / 10 % 10);
        *p++ = (char)('0' + e % 10);
        return (size_t)(p - out);
    }
    if (point <= 0) {
        *p++ = '0';
        *p++ = '.';
        for (int i = 0; i < -point; i++)
            *p++ = '0';
        memcpy(p, digits, (size_t)len);
        p += len;
    } else if (point >= len) {
        memcpy(p, digits, (size_t)len);
        p += len;
        for (int i = len; i < point; i++)
            *p++ = '0';
    } else {
        memcpy(p, digits, (size_t)point);
        p += point;
        *p++ = '.';
        memcpy(p, digits + point, (size_t)(len - point));
        p += len - point;
    }
    return (size_t)(p - out);
}
