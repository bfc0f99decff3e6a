/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The proxies of this host, gathered from what each image's worker knows of them: one worker may have lost a proxy that another still talks to, so each proxy says which image sees it how. */

#include <errno.h>
#include <string.h>

#include "model.h"

/* The best first: what one image uses is there. */
static const char *const states[] = { "active", "standby", "reachable", "draining", "unknown", "refused",
        "unreachable" };

static size_t rank(const char *state) {
        for (size_t i = 0; i < ELEMENTSOF(states); i++)
                if (strcmp(state, states[i]) == 0)
                        return i;
        return ELEMENTSOF(states);
}

static struct json_object *find(struct json_object *proxies, const char *address) {
        for (size_t i = 0; i < json_object_array_length(proxies); i++) {
                struct json_object *proxy = json_object_array_get_idx(proxies, i);

                if (strcmp(json_string(proxy, "address"), address) == 0)
                        return proxy;
        }
        return NULL;
}

static int copy_members(struct json_object *to, struct json_object *from) {
        static const char *const keys[] = { "state", "round_trip_usec", "failures", "reason" };
        int r;

        for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                struct json_object *value;

                if (json_object_object_get_ex(from, keys[i], &value)) {
                        r = json_add(to, keys[i], json_object_get(value));
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

static int add_proxy(struct json_object *proxies, struct json_object *seen, struct json_object **ret) {
        static const char *const keys[] = { "address", "priority", "origin" };
        struct json_object *proxy = json_object_new_object(), *value;
        int r;

        r = json_append(proxies, proxy);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(keys); i++)
                if (json_object_object_get_ex(seen, keys[i], &value))
                        r = json_add(proxy, keys[i], json_object_get(value));
        if (r >= 0)
                r = copy_members(proxy, seen);
        if (r >= 0)
                r = json_add(proxy, "images", json_object_new_array());
        if (r < 0)
                return r;

        *ret = proxy;
        return 0;
}

static int add_sight(struct json_object *proxies, const char *image, struct json_object *seen) {
        struct json_object *proxy = find(proxies, json_string(seen, "address")), *sights, *sight;
        int r;

        if (!proxy) {
                r = add_proxy(proxies, seen, &proxy);
                if (r < 0)
                        return r;
        } else if (rank(json_string(seen, "state")) < rank(json_string(proxy, "state"))) {
                r = copy_members(proxy, seen);
                if (r < 0)
                        return r;
        }

        (void) json_object_object_get_ex(proxy, "images", &sights);
        sight = json_object_new_object();
        if ((r = json_append(sights, sight)) < 0 || (r = json_add(sight, "name", json_object_new_string(image))) < 0)
                return r;
        return copy_members(sight, seen);
}

static int by_preference(const void *a, const void *b) {
        struct json_object *x = *(struct json_object *const *) a, *y = *(struct json_object *const *) b;
        uint64_t p = json_number(x, "priority"), q = json_number(y, "priority");

        return p != q ? (p < q ? -1 : 1) : strcmp(json_string(x, "address"), json_string(y, "address"));
}

struct json_object *model_proxies(const struct model *model) {
        _cleanup_(json_object_putp) struct json_object *images = model_images(model),
                                                       *proxies = json_object_new_array();

        if (!images || !proxies)
                return NULL;

        for (size_t i = 0; i < json_object_array_length(images); i++) {
                struct json_object *image = json_object_array_get_idx(images, i), *list;

                if (!json_object_object_get_ex(image, "proxies", &list) || !json_object_is_type(list, json_type_array))
                        continue;
                for (size_t k = 0; k < json_object_array_length(list); k++)
                        if (add_sight(proxies, json_string(image, "name"), json_object_array_get_idx(list, k)) < 0)
                                return NULL;
        }

        json_object_array_sort(proxies, by_preference);
        return TAKE_PTR(proxies);
}
