/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An image is kept here as the JSON object of its properties, read generically: a property that a newer blockstored
 * adds appears in --json without a change of the client. sd-bus has validated signature and nesting of every message
 * (at most 64 containers deep), so the recursion is bounded. */

#include <ctype.h>
#include <string.h>

#include "bus-json.h"
#include "json-object.h"

const char *const proxy_fields[] = { "address", "priority", "state", "round_trip_usec", "origin", NULL };
const char *const probed_proxy_fields[] = { "address", "priority", "state", "round_trip_usec", "origin", "failures",
        "reason", NULL };
const char *const store_image_fields[] = { "name", "size", "used", "uuid", "attached", NULL };

static int read_basic(sd_bus_message *m, char type, struct json_object **ret) {
        union {
                uint8_t y;
                int b;
                int16_t n;
                uint16_t q;
                int32_t i;
                uint32_t u;
                int64_t x;
                uint64_t t;
                double d;
                const char *s;
        } v;
        struct json_object *value;
        int r;

        /* A descriptor has no meaning outside the process: nothing of this API sends one to clients. */
        if (type == SD_BUS_TYPE_UNIX_FD)
                return -EBADMSG;

        r = sd_bus_message_read_basic(m, type, &v);
        if (r < 0)
                return r;

        switch (type) {
        case SD_BUS_TYPE_BYTE:
                value = json_object_new_uint64(v.y);
                break;
        case SD_BUS_TYPE_BOOLEAN:
                value = json_object_new_boolean(v.b);
                break;
        case SD_BUS_TYPE_INT16:
                value = json_object_new_int64(v.n);
                break;
        case SD_BUS_TYPE_UINT16:
                value = json_object_new_uint64(v.q);
                break;
        case SD_BUS_TYPE_INT32:
                value = json_object_new_int64(v.i);
                break;
        case SD_BUS_TYPE_UINT32:
                value = json_object_new_uint64(v.u);
                break;
        case SD_BUS_TYPE_INT64:
                value = json_object_new_int64(v.x);
                break;
        case SD_BUS_TYPE_UINT64:
                value = json_object_new_uint64(v.t);
                break;
        case SD_BUS_TYPE_DOUBLE:
                value = json_object_new_double(v.d);
                break;
        case SD_BUS_TYPE_STRING:
        case SD_BUS_TYPE_OBJECT_PATH:
        case SD_BUS_TYPE_SIGNATURE:
                value = json_object_new_string(v.s);
                break;
        default:
                return -EBADMSG;
        }

        if (!value)
                return -ENOMEM;

        *ret = value;
        return 0;
}

/* The elements of an array or structure that has been entered. */
static int read_elements(sd_bus_message *m, struct json_object **ret) {
        _cleanup_(json_object_putp) struct json_object *array = json_object_new_array();

        if (!array)
                return -ENOMEM;

        for (;;) {
                struct json_object *element;
                int r;

                r = sd_bus_message_at_end(m, 0);
                if (r < 0)
                        return r;
                if (r > 0)
                        break;

                r = bus_json_read(m, &element);
                if (r < 0)
                        return r;
                if (json_object_array_add(array, element) < 0) {
                        json_object_put(element);
                        return -ENOMEM;
                }
        }

        *ret = TAKE_PTR(array);
        return 0;
}

/* The entries of a dictionary that has been entered; its keys are strings. */
static int read_entries(sd_bus_message *m, const char *entry_contents, struct json_object **ret) {
        _cleanup_(json_object_putp) struct json_object *object = json_object_new_object();
        int r;

        if (!object)
                return -ENOMEM;
        if (entry_contents[0] != SD_BUS_TYPE_STRING && entry_contents[0] != SD_BUS_TYPE_OBJECT_PATH)
                return -EBADMSG;

        while ((r = sd_bus_message_enter_container(m, SD_BUS_TYPE_DICT_ENTRY, entry_contents)) > 0) {
                struct json_object *value;
                const char *key;

                r = sd_bus_message_read_basic(m, entry_contents[0], &key);
                if (r < 0)
                        return r;
                r = bus_json_read(m, &value);
                if (r < 0)
                        return r;
                if (json_object_object_add(object, key, value) < 0) {
                        json_object_put(value);
                        return -ENOMEM;
                }

                r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;

        *ret = TAKE_PTR(object);
        return 0;
}

int bus_json_read(sd_bus_message *m, struct json_object **ret) {
        _cleanup_(json_object_putp) struct json_object *value = NULL;
        _cleanup_free_ char *entry = NULL;
        const char *contents;
        char type;
        int r;

        r = sd_bus_message_peek_type(m, &type, &contents);
        if (r < 0)
                return r;
        if (r == 0)
                return -ENXIO;

        if (type != SD_BUS_TYPE_ARRAY && type != SD_BUS_TYPE_STRUCT && type != SD_BUS_TYPE_VARIANT)
                return read_basic(m, type, ret);

        /* What peek returned lives only as long as the message stands still. */
        if (type == SD_BUS_TYPE_ARRAY && contents[0] == SD_BUS_TYPE_DICT_ENTRY_BEGIN) {
                entry = strndup(contents + 1, strlen(contents) - 2);
                if (!entry)
                        return -ENOMEM;
        }

        r = sd_bus_message_enter_container(m, type, contents);
        if (r < 0)
                return r;

        if (type == SD_BUS_TYPE_VARIANT)
                r = bus_json_read(m, &value);
        else if (entry)
                r = read_entries(m, entry, &value);
        else
                r = read_elements(m, &value);
        if (r < 0)
                return r;

        r = sd_bus_message_exit_container(m);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(value);
        return 0;
}

/* An array of arrays becomes one of objects. What has more fields than names (a newer daemon) loses the rest, what has
 * fewer is left as short as it is. */
static int name_fields(struct json_object *array, const char *const *names, struct json_object **ret) {
        _cleanup_(json_object_putp) struct json_object *records = json_object_new_array();

        if (!records)
                return -ENOMEM;

        for (size_t i = 0; i < json_object_array_length(array); i++) {
                struct json_object *fields = json_object_array_get_idx(array, i), *record = json_object_new_object();

                if (!record || json_object_array_add(records, record) < 0) {
                        json_object_put(record);
                        return -ENOMEM;
                }
                if (!json_object_is_type(fields, json_type_array))
                        return -EBADMSG;

                for (size_t k = 0; k < json_object_array_length(fields) && names[k]; k++) {
                        struct json_object *field = json_object_get(json_object_array_get_idx(fields, k));

                        if (json_object_object_add(record, names[k], field) < 0) {
                                json_object_put(field);
                                return -ENOMEM;
                        }
                }
        }

        *ret = TAKE_PTR(records);
        return 0;
}

int bus_json_read_records(sd_bus_message *m, const char *const *names, struct json_object **ret) {
        _cleanup_(json_object_putp) struct json_object *array = NULL;
        int r;

        r = bus_json_read(m, &array);
        if (r < 0)
                return r;
        if (!json_object_is_type(array, json_type_array))
                return -EBADMSG;

        return name_fields(array, names, ret);
}

/* "LatencyUSec" is latency_usec: an underscore where a small letter is followed by a capital. Returns -ENAMETOOLONG
 * for what is no property's name of ours. */
static int member_name(const char *property, char *buffer, size_t size) {
        size_t n = 0;

        for (const char *p = property; *p; p++) {
                if (n + 3 > size)
                        return -ENAMETOOLONG;
                if (p > property && isupper((unsigned char) *p) && islower((unsigned char) p[-1]))
                        buffer[n++] = '_';
                buffer[n++] = (char) tolower((unsigned char) *p);
        }

        buffer[n] = 0;
        return 0;
}

/* (ta(tt)) is {"sum_usec": ..., "buckets": [{"up_to_usec": ..., "count": ...}]}; the last bucket has no bound here, since many a reader of JSON takes 2^64-1 for another number. */
static int name_latency(struct json_object *value, struct json_object **ret) {
        static const char *const bucket_fields[] = { "up_to_usec", "count", NULL };
        _cleanup_(json_object_putp) struct json_object *latency = json_object_new_object(), *buckets = NULL;
        struct json_object *last;
        size_t n;
        int r;

        if (!latency)
                return -ENOMEM;
        if (!json_object_is_type(value, json_type_array) || json_object_array_length(value) != 2 ||
                !json_object_is_type(json_object_array_get_idx(value, 1), json_type_array))
                return -EBADMSG;

        r = name_fields(json_object_array_get_idx(value, 1), bucket_fields, &buckets);
        if (r < 0)
                return r;
        n = json_object_array_length(buckets);
        last = n > 0 ? json_object_array_get_idx(buckets, n - 1) : NULL;
        if (last && json_number(last, "up_to_usec") == UINT64_MAX)
                json_object_object_del(last, "up_to_usec");

        r = json_add(latency, "sum_usec", json_object_get(json_object_array_get_idx(value, 0)));
        if (r >= 0)
                r = json_add(latency, "buckets", TAKE_PTR(buckets));
        if (r < 0)
                return r;
        *ret = TAKE_PTR(latency);
        return 0;
}

static bool is_latency(const char *property) {
        return strcmp(property, "ReadLatency") == 0 || strcmp(property, "WriteLatency") == 0 ||
               strcmp(property, "FlushLatency") == 0;
}

/* Two lists on the bus, since the first could not grow; one here: {"failures": ..., "reason": ...} go to the proxy of that
 * address. What is of no proxy is left out. */
static int merge_health(struct json_object *named, struct json_object *health) {
        struct json_object *proxies;

        if (!json_object_object_get_ex(named, "proxies", &proxies))
                return 0;

        for (size_t i = 0; i < json_object_array_length(health); i++) {
                struct json_object *record = json_object_array_get_idx(health, i);

                if (!json_object_is_type(record, json_type_array) || json_object_array_length(record) < 3)
                        return -EBADMSG;

                for (size_t k = 0; k < json_object_array_length(proxies); k++) {
                        struct json_object *proxy = json_object_array_get_idx(proxies, k);

                        if (strcmp(json_string(proxy, "address"),
                                    json_object_get_string(json_object_array_get_idx(record, 0))) != 0)
                                continue;
                        if (json_object_object_add(
                                    proxy, "failures", json_object_get(json_object_array_get_idx(record, 1))) < 0 ||
                                json_object_object_add(
                                        proxy, "reason", json_object_get(json_object_array_get_idx(record, 2))) < 0)
                                return -ENOMEM;
                }
        }
        return 0;
}

int bus_json_read_properties(sd_bus_message *m, struct json_object **ret) {
        _cleanup_(json_object_putp) struct json_object *properties = NULL, *named = json_object_new_object();
        struct json_object *health = NULL;
        int r;

        if (!named)
                return -ENOMEM;

        r = bus_json_read(m, &properties);
        if (r < 0)
                return r;
        if (!json_object_is_type(properties, json_type_object))
                return -EBADMSG;

        json_object_object_foreach(properties, property, value) {
                struct json_object *member;
                char name[128];

                r = member_name(property, name, sizeof name);
                if (r < 0)
                        return r;

                if (strcmp(property, "ProxyHealth") == 0 && json_object_is_type(value, json_type_array)) {
                        health = value;
                        continue;
                }
                if (strcmp(property, "Proxies") == 0 && json_object_is_type(value, json_type_array)) {
                        r = name_fields(value, proxy_fields, &member);
                        if (r < 0)
                                return r;
                } else if (is_latency(property)) {
                        r = name_latency(value, &member);
                        if (r < 0)
                                return r;
                } else
                        member = json_object_get(value);

                if (json_object_object_add(named, name, member) < 0) {
                        json_object_put(member);
                        return -ENOMEM;
                }
        }

        if (health) {
                r = merge_health(named, health);
                if (r < 0)
                        return r;
        }

        *ret = TAKE_PTR(named);
        return 0;
}
