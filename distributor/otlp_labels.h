/* otlp_labels.h - attributes as labels. Names are translated (otlp_name.h); attributes whose names become equal are joined, values in the order of the
 * attributes' names, with ';'. Then, each over what came before where names are equal: promoted resource attributes, attributes of the point, scope, job (service.namespace/service.name) and instance (service.instance.id). Labels with an empty value are left out.
 * An attribute called __name__ is dropped. Source: Prometheus 3 (prometheusremotewrite); differences: none known. */
#pragma once
#include "common/config/option.h"
#include "common/model/labels.h"
#include "common/wire/otlp.pb-c.h"
#include "distributor/otlp_name.h"

enum { OTLP_ATTRIBUTES_MAX = 1024 }; /* of one point, resource or scope */

struct otlp_label_options {
    struct otlp_naming naming;
    const struct opt_list *promoted; /* resource attributes that become labels of every series; may be NULL */
    bool scope;                      /* otel_scope_name, _version, _schema_url and the scope's attributes become labels */
    bool keep_identifying;           /* service.* stay in target_info besides job and instance */
};

/* What all points of a resource, or of a scope in it, have in common: sorted, unique. */
struct otlp_common {
    struct labels over, under;
};
struct otlp_attributes {
    Torc__Otlp__KeyValue **v;
    size_t n;
};
int otlp_common_of(struct arena *a, const struct otlp_attributes *resource, const struct otlp_label_options *o, struct otlp_common *ret, struct err *err);
/* Adds a scope to what a resource gives; base itself when the option is off or the scope has no name. */
int otlp_common_scope(struct arena *a, const struct otlp_common *base, const Torc__Otlp__InstrumentationScope *scope, struct str schema_url,
                      const struct otlp_label_options *o, struct otlp_common *ret, struct err *err);
/* Of a point: sorted, unique, without the metric's name. */
int otlp_point_labels(struct arena *a, const struct otlp_common *c, const struct otlp_attributes *attributes, const struct otlp_label_options *o,
                      struct labels *ret, struct err *err);
/* Of target_info; n 0: there is none to write (no attribute besides the identifying ones, or neither job nor instance). */
int otlp_target_labels(struct arena *a, const struct otlp_attributes *resource, const struct otlp_label_options *o, struct labels *ret, struct err *err);
