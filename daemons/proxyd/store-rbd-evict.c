/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Takes the lock from a proxy that does not answer. It may be dead, or merely frozen with a write in its memory, and nobody can tell; so before its lock is broken it is shut out of the cluster (the
 * monitors' blocklist): from then on no OSD that has heard of it executes anything of that client, and who touches an object afterwards has told its OSD. That is the fence; the lock only says who is
 * to be fenced.
 *
 * RBD's lock can be somebody else's, of a virtual machine that was started on the image by hand, say. Proxies sign the header before they take the lock, and nobody who has not signed is ever shut out.
 *
 * An entry of the blocklist lasts for SHUT_OUT_SECONDS. A proxy that was frozen for longer must not be thawed; one of a machine that runs has given up by then in any case. */

#include <string.h>

#include "store-rbd.h"

#define LOCK_NAME        "rbd_lock" /* RBD's name for the exclusive lock of an image */
#define SIGNATURE        "blockstore.proxy."
#define SHUT_OUT_SECONDS (7U * 24U * 3600U)

int store_rbd_find_owner(struct rbd_store *store, const char *header, struct rbd_owner *ret) {
        char tag[64], clients[256], cookies[256], addresses[512];
        size_t n_tag = sizeof(tag), n_clients = sizeof(clients), n_cookies = sizeof(cookies),
               n_addresses = sizeof(addresses);
        struct rbd_owner owner = {};
        int exclusive = 0;
        ssize_t n;

        n = rados_list_lockers(store->control_io, header, LOCK_NAME, &exclusive, tag, &n_tag, clients, &n_clients,
                cookies, &n_cookies, addresses, &n_addresses);
        if (n < 0 && n != -ENOENT)
                return (int) n;
        if (n > 0) {
                if (strlen(clients) >= sizeof(owner.client) || strlen(cookies) >= sizeof(owner.cookie) ||
                        strlen(addresses) >= sizeof(owner.address))
                        return -EUCLEAN;
                strcpy(owner.client, clients);
                strcpy(owner.cookie, cookies);
                rbd_address_normalise(addresses, owner.address, sizeof(owner.address));
        }
        *ret = owner;
        return 0;
}

static void signature_key(const char *address, char ret[static RBD_ADDRESS_SIZE + 32]) {
        (void) snprintf(ret, RBD_ADDRESS_SIZE + 32, SIGNATURE "%s", address);
}

int store_rbd_sign(struct rbd_store *store, const char *header) {
        char key[RBD_ADDRESS_SIZE + 32], value[SD_ID128_STRING_MAX];
        const char *keys[] = { key }, *values[] = { value };
        const size_t n = SD_ID128_STRING_MAX - 1;
        rados_write_op_t op;
        int r;

        signature_key(store->address, key);
        (void) sd_id128_to_string(store->instance, value);
        op = rados_create_write_op();
        if (!op)
                return -ENOMEM;
        rados_write_op_assert_exists(op);
        rados_write_op_omap_set(op, keys, values, &n, 1);
        r = rados_write_op_operate(op, store->control_io, header, NULL, 0);
        rados_release_write_op(op);
        return r;
}

static void remove_signature(struct rbd_store *store, const char *header, const char *address) {
        char key[RBD_ADDRESS_SIZE + 32];
        const char *keys[] = { key };
        rados_write_op_t op;

        signature_key(address, key);
        op = rados_create_write_op();
        if (!op)
                return;
        rados_write_op_assert_exists(op);
        rados_write_op_omap_rm_keys(op, keys, 1);
        /* One that stays does no harm: it says only that this client has been a proxy. */
        (void) rados_write_op_operate(op, store->control_io, header, NULL, 0);
        rados_release_write_op(op);
}

void store_rbd_unsign(struct rbd_store *store, const char *header) {
        remove_signature(store, header, store->address);
}

/* Returns 0, 1 or a negative errno. */
static int has_signed(struct rbd_store *store, const char *header, const char *address) {
        char key[RBD_ADDRESS_SIZE + 32], *found = NULL, *value;
        const char *keys[] = { key };
        rados_omap_iter_t values = NULL;
        rados_read_op_t op;
        int r, result = 0;
        size_t n;

        signature_key(address, key);
        op = rados_create_read_op();
        if (!op)
                return -ENOMEM;
        rados_read_op_omap_get_vals_by_keys(op, keys, 1, &values, &result);
        r = rados_read_op_operate(op, store->control_io, header, 0);
        if (r >= 0)
                r = result;
        if (r >= 0)
                r = rados_omap_get_next(values, &found, &value, &n);
        if (r >= 0)
                r = found != NULL;
        if (values)
                rados_omap_get_end(values);
        rados_release_read_op(op);
        return r;
}

/* librbd would do that by itself, but not for every operation. */
int store_rbd_unlock(struct rbd_store *store, const char *header) {
        struct rbd_owner owner;
        int r;

        r = store_rbd_find_owner(store, header, &owner);
        if (r < 0 || !*owner.address || strcmp(owner.address, store->address) == 0)
                return r;
        r = store_rbd_evict(store, header, &owner);
        return r == -EPERM ? 0 : r;
}

int store_rbd_unlock_open(struct rbd_store *store, const struct rbd_image *image) {
        struct rbd_owner owner;
        int r;

        r = store_rbd_find_owner(store, image->header, &owner);
        if (r < 0 || !*owner.address || strcmp(owner.address, store->address) == 0)
                return r;
        r = store_rbd_is_watched_by(store, image, owner.address);
        if (r == 0)
                r = store_rbd_evict(store, image->header, &owner);
        return r == -EPERM ? 0 : r;
}

int store_rbd_evict(struct rbd_store *store, const char *header, const struct rbd_owner *owner) {
        char address[RBD_ADDRESS_SIZE];
        int r;

        r = has_signed(store, header, owner->address);
        if (r <= 0)
                return r < 0 ? r : -EPERM;

        strcpy(address, owner->address);
        r = rados_blocklist_add(store->control, address, SHUT_OUT_SECONDS);
        /* Whatever we send from now on takes the news along to whom it is sent. */
        if (r >= 0)
                r = rados_wait_for_latest_osdmap(store->control);
        if (r >= 0)
                r = rados_wait_for_latest_osdmap(store->data);
        if (r >= 0)
                r = rados_break_lock(store->control_io, header, LOCK_NAME, owner->client, owner->cookie);
        if (r < 0 && r != -ENOENT)
                return r;
        remove_signature(store, header, owner->address);
        return 0;
}
