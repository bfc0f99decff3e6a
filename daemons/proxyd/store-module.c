/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A store that lies in a module beside the program, with libraries that most machines have no use for. It is loaded when such a store is opened, and stays for good; from then on the module's own ops are
 * those of the store. */

#include <dlfcn.h>
#include <libgen.h>
#include <limits.h>
#include <string.h>

#include "refusal.h"
#include "store-module.h"

#define MODULE_NAME "store-rbd.so"

/* Where the program lies, also in a build directory. */
static int find_module(char ret[static PATH_MAX]) {
        char self[PATH_MAX];
        ssize_t n;

        n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        if (n < 0)
                return -errno;
        self[n] = '\0';
        return snprintf(ret, PATH_MAX, "%s/" MODULE_NAME, dirname(self)) >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static int open_by_module(const struct store_how *how, struct store **ret, char **ret_message) {
        const struct store_ops *ops;
        char path[PATH_MAX];
        const char *version;
        void *module;
        int r;

        r = find_module(path);
        if (r < 0)
                return refuse_with(ret_message, r, "Cannot tell where this program lies: %s", strerror(-r));
        if (access(path, F_OK) < 0)
                return refuse_with(ret_message, -ELIBACC,
                        "There is no %s, which a store of type \"rbd\" needs: install the package "
                        "blockstore-proxy-rbd",
                        path);
        module = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
        if (!module)
                return refuse_with(
                        ret_message, -ELIBACC, "Cannot load %s: %s. Is Ceph's librbd installed?", path, dlerror());

        version = dlsym(module, "store_module_version");
        ops = dlsym(module, "store_rbd_ops");
        if (!version || !ops || strcmp(version, STORE_MODULE_VERSION) != 0) {
                r = refuse_with(ret_message, -ELIBBAD,
                        "%s is of another version (%s, this is %s): install both from one build", path,
                        version ? version : "unknown", STORE_MODULE_VERSION);
                (void) dlclose(module);
                return r;
        }
        return ops->open(how, ret, ret_message);
}

const struct store_ops store_module_rbd_ops = {
        .type = "rbd",
        .open = open_by_module,
};
