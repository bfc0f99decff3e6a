/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The way into the cluster. Whatever goes wrong here is told with what to look at, since it is an administrator who has to mend it: the configuration file, the key, monitors that do not answer, a pool
 * that is not there. */

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "refusal.h"
#include "store-rbd.h"

#define CONTROL_LIMIT "15"     /* seconds for one operation of the control client */
#define SHUT_OUT_TIME "604800" /* seconds: how long a client stays shut out that RBD itself shuts out */
#define KEYRING       "ceph-keyring"

static int set_options(rados_t cluster, const char *const (*options)[2]) {
        int r = 0;

        for (; (*options)[0] && r >= 0; options++)
                r = rados_conf_set(cluster, (*options)[0], (*options)[1]);
        return r;
}

/* A keyring that the unit was given as a credential, which root alone can read elsewhere, counts before those that Ceph's configuration names. */
static int set_keyring(rados_t cluster) {
        const char *directory = getenv("CREDENTIALS_DIRECTORY");
        char path[PATH_MAX];

        if (!directory || snprintf(path, sizeof(path), "%s/" KEYRING, directory) >= (int) sizeof(path) ||
                access(path, R_OK) < 0)
                return 0;
        return rados_conf_set(cluster, "keyring", path);
}

static int prepare(const struct store_ceph *ceph, bool control, rados_t *ret, char **ret_message) {
        /* Nothing of it goes to files or to our standard error; what is worth telling we tell. */
        static const char *const both[][2] = {
                { "log_to_stderr", "false" },
                { "err_to_stderr", "false" },
                { "log_file", "" },
                { "admin_socket", "" },
                /* An acknowledgement is durable: nothing is kept back here. */
                { "rbd_cache", "false" },
                { "rbd_non_blocking_aio", "true" },
                { "rbd_blocklist_on_break_lock", "true" },
                { "rbd_blocklist_expire_seconds", SHUT_OUT_TIME },
                { NULL, NULL },
        };
        static const char *const limited[][2] = {
                { "rados_osd_op_timeout", CONTROL_LIMIT },
                { "rados_mon_op_timeout", CONTROL_LIMIT },
                { NULL, NULL },
        };
        static const char *const unlimited[][2] = {
                { "rados_osd_op_timeout", "0" },
                { "rados_mon_op_timeout", CONTROL_LIMIT },
                { NULL, NULL },
        };
        uint64_t seconds = (ceph->connect_usec + 999999U) / 1000000U;
        char limit[24];
        int r;

        r = rados_create(ret, ceph->user);
        if (r < 0) {
                *ret = NULL;
                return refuse_with(ret_message, r, "Cannot make a client of Ceph: %s", strerror(-r));
        }
        r = rados_conf_read_file(*ret, ceph->conf);
        if (r < 0)
                return refuse_with(ret_message, r, "Cannot read Ceph's configuration %s (\"conf\" of \"store\"): %s",
                        ceph->conf, strerror(-r));

        (void) snprintf(limit, sizeof(limit), "%ju", (uintmax_t) seconds);
        r = set_options(*ret, both);
        if (r >= 0)
                r = set_options(*ret, control ? limited : unlimited);
        if (r >= 0)
                r = rados_conf_set(*ret, "client_mount_timeout", limit);
        if (r >= 0)
                r = set_keyring(*ret);
        return r < 0 ? refuse_with(ret_message, r, "Ceph does not take the settings that are needed: %s", strerror(-r))
                     : 0;
}

static int explain_connection(const struct store_ceph *ceph, rados_t cluster, int error, char **ret_message) {
        char monitors[256] = "";

        switch (-error) {
        case ETIMEDOUT:
                (void) rados_conf_get(cluster, "mon_host", monitors, sizeof(monitors));
                return refuse_with(ret_message, error,
                        "No monitor of the Ceph cluster has answered within %ju s. Are those of \"mon_host\" in %s "
                        "(%s) "
                        "running, and can they be reached from here?",
                        (uintmax_t) ((ceph->connect_usec + 999999U) / 1000000U), ceph->conf, monitors);
        case ENOENT:
        case EACCES:
        case EPERM:
                return refuse_with(ret_message, error,
                        "Ceph does not let in client.%s (%s). Its key has to be in the credential " KEYRING
                        ", or in the keyring that %s names, and the proxy's user must be able to read it",
                        ceph->user, strerror(-error), ceph->conf);
        default:
                return refuse_with(ret_message, error, "Cannot connect to Ceph as client.%s with %s: %s", ceph->user,
                        ceph->conf, strerror(-error));
        }
}

static int connect_one(
        struct rbd_store *store, bool control, rados_t *cluster, rados_ioctx_t *io, char **ret_message) {
        const struct store_ceph *ceph = &store->how.ceph;
        int r;

        r = prepare(ceph, control, cluster, ret_message);
        if (r < 0)
                return r;
        r = rados_connect(*cluster);
        if (r < 0)
                return explain_connection(ceph, *cluster, r, ret_message);

        r = rados_ioctx_create(*cluster, ceph->pool, io);
        if (r < 0) {
                *io = NULL;
                return refuse_with(ret_message, r,
                        r == -ENOENT ? "There is no pool %s in the Ceph cluster: make it (ceph osd pool create), and "
                                       "prepare it for RBD (rbd pool init)"
                                     : "Cannot use the pool %s",
                        ceph->pool);
        }
        if (ceph->name_space)
                rados_ioctx_set_namespace(*io, ceph->name_space);
        return 0;
}

int store_rbd_connect(struct rbd_store *store, char **ret_message) {
        char *addresses = NULL;
        int r;

        r = connect_one(store, true, &store->control, &store->control_io, ret_message);
        if (r >= 0)
                r = connect_one(store, false, &store->data, &store->data_io, ret_message);
        if (r < 0)
                return r;

        store->pool = rados_ioctx_get_id(store->data_io);
        r = rados_cluster_fsid(store->control, store->fsid, sizeof(store->fsid));
        if (r >= 0)
                r = rados_getaddrs(store->data, &addresses);
        if (r < 0)
                return refuse_with(
                        ret_message, r, "Ceph does not say what cluster and client this is: %s", strerror(-r));
        rbd_address_normalise(addresses, store->address, sizeof(store->address));
        rados_buffer_free(addresses);
        return 0;
}

void store_rbd_disconnect(struct rbd_store *store) {
        if (store->control_io)
                rados_ioctx_destroy(store->control_io);
        if (store->data_io)
                rados_ioctx_destroy(store->data_io);
        if (store->control)
                rados_shutdown(store->control);
        if (store->data)
                rados_shutdown(store->data);
        store->control_io = store->data_io = NULL;
        store->control = store->data = NULL;
}
