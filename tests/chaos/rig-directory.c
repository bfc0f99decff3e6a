/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The directory that a rig works in: what it holds before anything is started, and its end. It lies where the store can be, which refuses what is no local file system. */

#include <crypt.h>
#include <errno.h>
#include <ftw.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "rig.h"

#define OVERLAY_MAGIC 0x794c7630L
#define CHEAP_SALT    "$6$rounds=1000$chaos" /* a proxy is restarted hundreds of times, and each time sessions log in */

static int write_file(const char *directory, const char *name, const char *text) {
        char path[4096];
        _cleanup_fclose_ FILE *f = NULL;

        (void) snprintf(path, sizeof(path), "%s/%s", directory, name);
        f = fopen(path, "we");
        if (!f || fputs(text, f) < 0 || fflush(f) != 0)
                return -errno;
        return 0;
}

int rig_make_directory(struct rig *rig) {
        static const char *const names[] = { "etc", "etc/images.d", "run", "credentials", "state", "proxies", "tmp" };
        const char *bases[] = { getenv("TMPDIR"), "/var/tmp", "/tmp", "/dev/shm" };

        if (rig->options.directory)
                (void) snprintf(rig->directory, sizeof(rig->directory), "%s", rig->options.directory);
        else {
                size_t i = 0;

                /* The store refuses what is no local file system. */
                for (; i < ELEMENTSOF(bases); i++) {
                        struct statfs fs;

                        if (bases[i] && statfs(bases[i], &fs) >= 0 && fs.f_type != OVERLAY_MAGIC)
                                break;
                }
                if (i == ELEMENTSOF(bases))
                        return -ENOENT;
                (void) snprintf(rig->directory, sizeof(rig->directory), "%s/blockstore-chaos-XXXXXX", bases[i]);
                if (!mkdtemp(rig->directory))
                        return -errno;
                rig->remove = true;
        }
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                char path[4096];

                (void) snprintf(path, sizeof(path), "%s/%s", rig->directory, names[i]);
                if (mkdir(path, 0700) < 0 && errno != EEXIST)
                        return -errno;
        }
        (void) snprintf(rig->socket_path, sizeof(rig->socket_path), "%s/run/nbd", rig->directory);
        (void) snprintf(rig->store, sizeof(rig->store), "%s/store", rig->directory);
        return 0;
}

int rig_write_configuration(struct rig *rig) {
        char proxies[512] = "", text[8192], store[512], hex[IVBS_PASSWORD_SIZE + 1] = "", name[64];
        struct crypt_data data = {};
        const char *hash;
        size_t used = 0;
        int r;

        for (unsigned i = 0; i < rig->options.n_proxies; i++)
                used += (size_t) snprintf(proxies + used, sizeof(proxies) - used, "%s\"127.0.0.1:%u\"",
                        i > 0 ? "," : "", relay_port(rig->proxies[i].relay));

        (void) snprintf(text, sizeof(text), "{%s\"device\":\"none\",\"user\":\"" RIG_USER "\",\"proxies\":[%s]}\n",
                rig->options.settings ?: "", proxies);
        r = write_file(rig->directory, "etc/images.d/" RIG_IMAGE ".json", text);
        if (r >= 0)
                r = write_file(rig->directory, "credentials/password", RIG_PASSWORD);
        if (r >= 0)
                r = ivbs_hash_password(RIG_PASSWORD, strlen(RIG_PASSWORD), hex);
        if (r < 0)
                return r;

        hash = crypt_rn(hex, CHEAP_SALT, &data, sizeof(data)); /* AddressSanitizer has its own idea of crypt_r() */
        if (!hash)
                return -EINVAL;
        (void) snprintf(text, sizeof(text),
                "{\"users\":[{\"name\":\"" RIG_USER
                "\",\"hash\":\"%s\",\"read\":[\"*\"],\"write\":[\"*\"],\"admin\":true}]}\n",
                hash);
        r = write_file(rig->directory, "proxies/users.json", text);

        if (rig->options.ceph)
                (void) snprintf(store, sizeof(store), "\"type\":\"rbd\",\"conf\":\"%s\"", rig->options.ceph);
        else
                (void) snprintf(store, sizeof(store), "\"type\":\"%s\",\"path\":\"%s\"",
                        rig->options.volatile_store ? "volatile" : "file", rig->store);
        for (unsigned i = 0; r >= 0 && i < rig->options.n_proxies; i++) {
                char peers[512] = "";

                used = 0;
                for (unsigned j = 0; j < rig->options.n_proxies; j++)
                        if (j != i)
                                used += (size_t) snprintf(peers + used, sizeof(peers) - used, "%s\"127.0.0.1:%u\"",
                                        used > 0 ? "," : "", relay_port(rig->proxies[j].relay));
                (void) snprintf(text, sizeof(text),
                        "{%s\"listen\":[\"127.0.0.1:0\"],\"advertise\":[\"127.0.0.1:%u\"],\"peers\":[%s],\"users\":"
                        "\"users.json\","
                        "\"store\":{%s}}\n",
                        rig->options.proxy_settings ?: "", relay_port(rig->proxies[i].relay), peers, store);
                (void) snprintf(name, sizeof(name), "proxies/%s.json", rig->proxies[i].name);
                r = write_file(rig->directory, name, text);
        }
        return r;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *walk) {
        (void) remove(path);
        return 0;
}

void rig_remove_directory(struct rig *rig) {
        (void) nftw(rig->directory, remove_one, 32, FTW_DEPTH | FTW_PHYS);
}
