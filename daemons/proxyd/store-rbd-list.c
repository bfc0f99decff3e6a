/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The images of the pool, a page at a time: all names, and of the page what stands in their headers and object maps. */

#include <string.h>

#include "ivbs-lifecycle.h"
#include "store-rbd.h"

static int compare(const void *a, const void *b) {
        return strcmp(((const rbd_image_spec_t *) a)->name, ((const rbd_image_spec_t *) b)->name);
}

int store_rbd_list_names(struct rbd_store *store, rbd_image_spec_t **ret, size_t *ret_n) {
        rbd_image_spec_t *specs = NULL;
        size_t n = 256;
        int r;

        do {
                rbd_image_spec_t *grown;

                if (n > RBD_IMAGES_MAX)
                        n = RBD_IMAGES_MAX;
                grown = reallocarray(specs, n, sizeof(*specs));
                if (!grown) {
                        free(specs);
                        return -ENOMEM;
                }
                specs = grown;
                /* n becomes what would do. */
                r = rbd_list2(store->control_io, specs, &n);
        } while (r == -ERANGE && n <= RBD_IMAGES_MAX);
        if (r < 0) {
                free(specs);
                return r == -ERANGE ? -EOVERFLOW : r;
        }

        if (n > 0)
                qsort(specs, n, sizeof(*specs), compare);
        *ret = specs;
        *ret_n = n;
        return 0;
}

/* Returns 1 when ret was filled, 0 for what is no (whole) image: damage of one must not hide the others. */
static int describe(struct rbd_store *store, const rbd_image_spec_t *spec, struct store_listed *ret) {
        char object[RBD_HEADER_SIZE];
        struct rbd_header header;

        if (strlen(spec->id) >= RBD_ID_SIZE)
                return 0;
        store_rbd_header_name(spec->id, object);
        if (store_rbd_load(store, object, &header) < 0)
                return 0;

        *ret = (struct store_listed){
                .uuid = store_rbd_uuid(store, spec->id, 0),
                .size = store_rbd_size_of(&header),
                .used = store_rbd_used(store, spec->id, &header),
                .leased = header.record.lease.live,
        };
        strcpy(ret->name, spec->name);
        return 1;
}

int store_rbd_list(struct store *s, const char *after, store_filter_t filter, void *userdata, size_t max,
        struct store_listed **ret, size_t *ret_n, bool *ret_more) {
        struct rbd_store *store = RBD_STORE(s);
        rbd_image_spec_t *specs = NULL;
        struct store_listed *listed;
        size_t n_specs = 0, n = 0;
        bool more = false;
        int r;

        listed = calloc(max, sizeof(*listed));
        if (!listed)
                return -ENOMEM;
        r = store_rbd_list_names(store, &specs, &n_specs);
        if (r < 0) {
                free(listed);
                return r;
        }

        for (size_t i = 0; i < n_specs; i++) {
                const char *name = specs[i].name;

                /* Hidden ones are on the way, or what is left of something. */
                if (!ivbs_new_name_is_valid(name) || (after && strcmp(name, after) <= 0) ||
                        (filter && !filter(name, userdata)))
                        continue;
                if (n == max) {
                        more = true;
                        break;
                }
                n += (size_t) describe(store, specs + i, listed + n);
        }

        rbd_image_spec_list_cleanup(specs, n_specs);
        free(specs);
        *ret = listed;
        *ret_n = n;
        *ret_more = more;
        return 0;
}
