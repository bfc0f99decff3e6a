/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Two formats that differ in little, and where they differ a reader of the one refuses the other: OpenMetrics names a counter's family without _total, has units and the types info and stateset, and ends with EOF.
 * Names and units follow the conventions of Prometheus: base units (seconds, bytes), _total on counters. All samples of a family stand together, so each family is a pass over the images.
 *
 * Counters are a worker's: they begin at 0 when it is restarted, which rate() understands. The buckets of histograms are the worker's, too, and cumulative only here. */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "metrics.h"

enum metric_type {
        TYPE_COUNTER,
        TYPE_GAUGE,
        TYPE_HISTOGRAM,
        TYPE_INFO,
        TYPE_STATESET,
};

struct metrics {
        FILE *out;
        enum metrics_format format;
        struct json_object *images, *jobs;
};

static const char *const states[] = { "inactive", "attaching", "attached", "reconnecting", "parked", "detaching",
        "failed" };
static const char *const proxy_states[] = { "active", "standby", "reachable", "draining", "unknown", "refused",
        "unreachable" };

enum metrics_format metrics_negotiate(const char *accept) {
        return accept && strstr(accept, "application/openmetrics-text") ? METRICS_OPENMETRICS : METRICS_TEXT;
}

const char *metrics_content_type(enum metrics_format format) {
        return format == METRICS_OPENMETRICS ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                             : "text/plain; version=0.0.4; charset=utf-8";
}

/* name: without _total or _info. */
static void family(
        const struct metrics *m, const char *name, enum metric_type type, const char *unit, const char *help) {
        static const char *const openmetrics_types[] = { "counter", "gauge", "histogram", "info", "stateset" };

        if (m->format == METRICS_OPENMETRICS) {
                fprintf(m->out, "# TYPE %s %s\n", name, openmetrics_types[type]);
                if (unit)
                        fprintf(m->out, "# UNIT %s %s\n", name, unit);
                fprintf(m->out, "# HELP %s %s\n", name, help);
                return;
        }

        const char *suffix = type == TYPE_COUNTER ? "_total" : type == TYPE_INFO ? "_info" : "";

        fprintf(m->out, "# HELP %s%s %s\n# TYPE %s%s %s\n", name, suffix, help, name, suffix,
                type == TYPE_COUNTER     ? "counter"
                : type == TYPE_HISTOGRAM ? "histogram"
                                         : "gauge");
}

/* Valid UTF-8 is for the bus to see to; quotes, backslashes and line ends would end the value. */
static void label(FILE *out, const char *key, const char *value, bool first) {
        fprintf(out, "%s%s=\"", first ? "" : ",", key);
        for (; *value; value++) {
                if (*value == '\n')
                        fputs("\\n", out);
                else {
                        if (*value == '"' || *value == '\\')
                                fputc('\\', out);
                        fputc(*value, out);
                }
        }
        fputc('"', out);
}

/* A sample's name and its labels, in pairs that end with NULL. */
static void sample(const struct metrics *m, const char *name, const char *const labels[]) {
        fputs(name, m->out);
        if (labels[0]) {
                fputc('{', m->out);
                for (size_t i = 0; labels[i]; i += 2)
                        label(m->out, labels[i], labels[i + 1], i == 0);
                fputc('}', m->out);
        }
        fputc(' ', m->out);
}

#define LABELS(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define NO_LABELS   ((const char *const[]){ NULL })

/* Microseconds as seconds, exactly and in no locale. */
static void value_usec(FILE *out, uint64_t usec) {
        fprintf(out, "%" PRIu64 ".%06" PRIu64 "\n", usec / 1000000, usec % 1000000);
}

static void value_number(FILE *out, uint64_t number) {
        fprintf(out, "%" PRIu64 "\n", number);
}

static struct json_object *image_at(const struct metrics *m, size_t i) {
        return json_object_array_get_idx(m->images, i);
}

#define FOREACH_IMAGE(m, image) \
        for (size_t _i = 0; _i < json_object_array_length((m)->images) && ((image) = image_at(m, _i)); _i++)

/* Families of one number for each image. */
static void render_numbers(const struct metrics *m) {
        static const struct {
                const char *name, *sample, *key, *unit;
                enum metric_type type;
                bool usec;
                const char *help;
        } families[] = {
                { "blockstore_image_size_bytes", "blockstore_image_size_bytes", "size", "bytes", TYPE_GAUGE, false,
                        "Size of the image, 0 until attached." },
                { "blockstore_image_read_bytes", "blockstore_image_read_bytes_total", "read_bytes", "bytes",
                        TYPE_COUNTER, false, "Bytes read since the worker started." },
                { "blockstore_image_written_bytes", "blockstore_image_written_bytes_total", "written_bytes", "bytes",
                        TYPE_COUNTER, false, "Bytes written since the worker started." },
                { "blockstore_image_errors", "blockstore_image_errors_total", "errors", NULL, TYPE_COUNTER, false,
                        "Requests answered with an error since the worker started." },
                { "blockstore_image_failovers", "blockstore_image_failovers_total", "failovers", NULL, TYPE_COUNTER,
                        false, "Times that I/O moved to other connections since the worker started." },
                { "blockstore_image_reconnects", "blockstore_image_reconnects_total", "reconnects", NULL, TYPE_COUNTER,
                        false, "Connections made in place of lost ones since the worker started." },
                { "blockstore_image_stalls", "blockstore_image_stalls_total", "stalls", NULL, TYPE_COUNTER, false,
                        "Times that requests waited for more than 1 s and none was answered, since the worker "
                        "started." },
                { "blockstore_image_stalled_seconds", "blockstore_image_stalled_seconds", "stalled_usec", "seconds",
                        TYPE_GAUGE, true, "For how long requests have waited with none answered, 0 below 1 s." },
                { "blockstore_image_longest_stall_seconds", "blockstore_image_longest_stall_seconds",
                        "longest_stall_usec", "seconds", TYPE_GAUGE, true,
                        "The longest stall since the worker started." },
                { "blockstore_image_in_flight_requests", "blockstore_image_in_flight_requests", "in_flight", NULL,
                        TYPE_GAUGE, false, "Requests that have not been answered yet." },
                { "blockstore_image_latency_seconds", "blockstore_image_latency_seconds", "latency_usec", "seconds",
                        TYPE_GAUGE, true, "Mean time from acceptance to answer over the last second." },
                { "blockstore_image_retained_bytes", "blockstore_image_retained_bytes", "retained_bytes", "bytes",
                        TYPE_GAUGE, false,
                        "Acknowledged writes that are kept because they are not known to be durable." },
                { "blockstore_image_sessions", "blockstore_image_sessions", "sessions", NULL, TYPE_GAUGE, false,
                        "Connections to the active proxy that carry I/O." },
                { "blockstore_image_state_change_timestamp_seconds", "blockstore_image_state_change_timestamp_seconds",
                        "state_since", "seconds", TYPE_GAUGE, true,
                        "When the state became what it is, in seconds since 1970." },
        };
        struct json_object *image;

        for (size_t i = 0; i < ELEMENTSOF(families); i++) {
                family(m, families[i].name, families[i].type, families[i].unit, families[i].help);
                FOREACH_IMAGE(m, image) {
                        sample(m, families[i].sample, LABELS("image", json_string(image, "name")));
                        if (families[i].usec)
                                value_usec(m->out, json_number(image, families[i].key));
                        else
                                value_number(m->out, json_number(image, families[i].key));
                }
        }
}

static void render_info(const struct metrics *m) {
        struct json_object *image;

        family(m, "blockstore_image", TYPE_INFO, NULL,
                "What does not change often: names, device, and the proxy in use.");
        FOREACH_IMAGE(m, image) {
                sample(m, "blockstore_image_info",
                        LABELS("image", json_string(image, "name"), "image_name", json_string(image, "image_name"),
                                "uuid", json_string(image, "uuid"), "device", json_string(image, "device"),
                                "active_proxy", json_string(image, "active_proxy"), "standby_proxy",
                                json_string(image, "standby_proxy"), "read_only",
                                json_is_true(image, "read_only") ? "true" : "false", "configured",
                                json_is_true(image, "configured") ? "true" : "false"));
                value_number(m->out, 1);
        }

        /* In a stateset the label has the family's name. */
        family(m, "blockstore_image_state", TYPE_STATESET, NULL, "1 for the state that the image is in.");
        FOREACH_IMAGE(m, image) {
                for (size_t i = 0; i < ELEMENTSOF(states); i++) {
                        sample(m, "blockstore_image_state",
                                LABELS("image", json_string(image, "name"), "blockstore_image_state", states[i]));
                        value_number(m->out, strcmp(json_string(image, "state"), states[i]) == 0);
                }
        }
}

static void render_operations(const struct metrics *m) {
        static const struct {
                const char *name, *key;
        } operations[] = { { "read", "read_operations" }, { "write", "write_operations" },
                { "flush", "flush_operations" } };
        struct json_object *image;

        family(m, "blockstore_image_operations", TYPE_COUNTER, NULL, "Requests answered since the worker started.");
        FOREACH_IMAGE(m, image) {
                for (size_t i = 0; i < ELEMENTSOF(operations); i++) {
                        sample(m, "blockstore_image_operations_total",
                                LABELS("image", json_string(image, "name"), "operation", operations[i].name));
                        value_number(m->out, json_number(image, operations[i].key));
                }
        }
}

/* A bound in seconds, as short as it can be written: "0.00005", "1.0". */
static void format_bound(char text[static 32], uint64_t usec) {
        int n = snprintf(text, 32, "%" PRIu64 ".%06" PRIu64, usec / 1000000, usec % 1000000);

        while (n > 2 && text[n - 1] == '0' && text[n - 2] != '.')
                text[--n] = 0;
}

static void render_histogram(const struct metrics *m, const char *image, const char *operation,
        struct json_object *latency, struct json_object *buckets) {
        static const char name[] = "blockstore_image_request_duration_seconds";
        uint64_t total = 0;
        char text[64];

        for (size_t i = 0; i < json_object_array_length(buckets); i++) {
                struct json_object *bucket = json_object_array_get_idx(buckets, i);
                char bound[32] = "+Inf";

                if (json_object_object_get_ex(bucket, "up_to_usec", NULL))
                        format_bound(bound, json_number(bucket, "up_to_usec"));
                total += json_number(bucket, "count");
                snprintf(text, sizeof text, "%s_bucket", name);
                sample(m, text, LABELS("image", image, "operation", operation, "le", bound));
                value_number(m->out, total);
        }
        snprintf(text, sizeof text, "%s_sum", name);
        sample(m, text, LABELS("image", image, "operation", operation));
        value_usec(m->out, json_number(latency, "sum_usec"));
        snprintf(text, sizeof text, "%s_count", name);
        sample(m, text, LABELS("image", image, "operation", operation));
        value_number(m->out, total);
}

static void render_latencies(const struct metrics *m) {
        static const struct {
                const char *name, *key;
        } operations[] = { { "read", "read_latency" }, { "write", "write_latency" }, { "flush", "flush_latency" } };
        struct json_object *image;

        family(m, "blockstore_image_request_duration_seconds", TYPE_HISTOGRAM, "seconds",
                "Time from acceptance to answer of requests that succeeded, since the worker started.");
        FOREACH_IMAGE(m, image) {
                for (size_t i = 0; i < ELEMENTSOF(operations); i++) {
                        struct json_object *latency, *buckets;

                        /* Nobody has counted: an image without a worker, or an older one. */
                        if (json_object_object_get_ex(image, operations[i].key, &latency) &&
                                json_object_object_get_ex(latency, "buckets", &buckets) &&
                                json_object_is_type(buckets, json_type_array) && json_object_array_length(buckets) > 0)
                                render_histogram(m, json_string(image, "name"), operations[i].name, latency, buckets);
                }
        }
}

typedef void (*proxy_sample_t)(const struct metrics *m, const char *image, struct json_object *proxy);

static void foreach_proxy(const struct metrics *m, proxy_sample_t each) {
        struct json_object *image, *proxies;

        FOREACH_IMAGE(m, image) {
                if (!json_object_object_get_ex(image, "proxies", &proxies) ||
                        !json_object_is_type(proxies, json_type_array))
                        continue;
                for (size_t k = 0; k < json_object_array_length(proxies); k++)
                        each(m, json_string(image, "name"), json_object_array_get_idx(proxies, k));
        }
}

static void proxy_state(const struct metrics *m, const char *image, struct json_object *proxy) {
        for (size_t i = 0; i < ELEMENTSOF(proxy_states); i++) {
                sample(m, "blockstore_proxy_state",
                        LABELS("image", image, "proxy", json_string(proxy, "address"), "blockstore_proxy_state",
                                proxy_states[i]));
                value_number(m->out, strcmp(json_string(proxy, "state"), proxy_states[i]) == 0);
        }
}

static void proxy_up(const struct metrics *m, const char *image, struct json_object *proxy) {
        const char *state = json_string(proxy, "state");

        sample(m, "blockstore_proxy_up", LABELS("image", image, "proxy", json_string(proxy, "address")));
        value_number(m->out, strcmp(state, "active") == 0 || strcmp(state, "standby") == 0 ||
                                     strcmp(state, "reachable") == 0 || strcmp(state, "draining") == 0);
}

static void proxy_round_trip(const struct metrics *m, const char *image, struct json_object *proxy) {
        if (json_number(proxy, "round_trip_usec") == 0)
                return; /* not known */
        sample(m, "blockstore_proxy_round_trip_seconds",
                LABELS("image", image, "proxy", json_string(proxy, "address")));
        value_usec(m->out, json_number(proxy, "round_trip_usec"));
}

static void proxy_failures(const struct metrics *m, const char *image, struct json_object *proxy) {
        sample(m, "blockstore_proxy_recent_failures", LABELS("image", image, "proxy", json_string(proxy, "address")));
        value_number(m->out, json_number(proxy, "failures"));
}

static void render_proxies(const struct metrics *m) {
        family(m, "blockstore_proxy_state", TYPE_STATESET, NULL,
                "1 for the state in which the image's worker sees the proxy.");
        foreach_proxy(m, proxy_state);
        family(m, "blockstore_proxy_up", TYPE_GAUGE, NULL, "Whether the image's worker can reach the proxy.");
        foreach_proxy(m, proxy_up);
        family(m, "blockstore_proxy_round_trip_seconds", TYPE_GAUGE, "seconds",
                "Last round trip to the proxy, where it is known.");
        foreach_proxy(m, proxy_round_trip);
        family(m, "blockstore_proxy_recent_failures", TYPE_GAUGE, NULL, "Failures since the proxy last answered.");
        foreach_proxy(m, proxy_failures);
}

static void render_jobs(const struct metrics *m) {
        static const char *const job_states[] = { "running", "cancelling", "done", "failed", "cancelled" };

        family(m, "blockstore_jobs", TYPE_GAUGE, NULL, "Jobs by state; one that has ended is counted for a minute.");
        for (size_t i = 0; i < ELEMENTSOF(job_states); i++) {
                uint64_t n = 0;

                for (size_t k = 0; k < json_object_array_length(m->jobs); k++)
                        n += strcmp(json_string(json_object_array_get_idx(m->jobs, k), "state"), job_states[i]) == 0;
                sample(m, "blockstore_jobs", LABELS("state", job_states[i]));
                value_number(m->out, n);
        }
}

int metrics_render(const struct model *model, bool up, enum metrics_format format, char **ret, size_t *ret_size) {
        _cleanup_(json_object_putp) struct json_object *images = model_images(model), *jobs = model_jobs(model);
        struct metrics m = { .format = format, .images = images, .jobs = jobs };
        _cleanup_free_ char *text = NULL;
        size_t size = 0;
        bool failed;

        if (!images || !jobs)
                return -ENOMEM;
        m.out = open_memstream(&text, &size);
        if (!m.out)
                return -ENOMEM;

        family(&m, "blockstore_build", TYPE_INFO, NULL, "The version of blockstore-httpd.");
        sample(&m, "blockstore_build_info", LABELS("version", BLOCKSTORE_VERSION));
        value_number(m.out, 1);
        family(&m, "blockstore_up", TYPE_GAUGE, NULL,
                "Whether blockstored answered; if it did not, nothing else is told.");
        sample(&m, "blockstore_up", NO_LABELS);
        value_number(m.out, up);

        if (up) {
                render_info(&m);
                render_numbers(&m);
                render_operations(&m);
                render_latencies(&m);
                render_proxies(&m);
                render_jobs(&m);
        }
        if (format == METRICS_OPENMETRICS)
                fputs("# EOF\n", m.out);

        failed = ferror(m.out);
        if (fclose(m.out) != 0 || failed)
                return -ENOMEM;
        *ret = TAKE_PTR(text);
        *ret_size = size;
        return 0;
}
