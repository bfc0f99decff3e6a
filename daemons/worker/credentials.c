/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "credentials.h"
#include "refusal.h"
#include "tls-client.h"

static ssize_t read_password(const char *directory, const char *name, char ret[static PASSWORD_LINE_MAX]) {
        _cleanup_free_ char *path = NULL;
        _cleanup_close_ int fd = -EBADF;

        if (asprintf(&path, "%s/%s", directory, name) < 0) {
                path = NULL;
                return -ENOMEM;
        }

        fd = open(path, O_RDONLY | O_CLOEXEC);
        return fd < 0 ? -errno : password_line_read(fd, ret);
}

/* A drop-in, and a unit of an older version that systemd still has in memory, gives a credential by one of two names, as it stands or decrypted. The latter has an empty line as its default, since systemd takes a file
 * that is not there for an error otherwise: such a one counts as absent. */
static ssize_t find_password(const char *directory, const char *image, char ret[static PASSWORD_LINE_MAX]) {
        char encrypted[sizeof("blockstore.") + IMAGE_LOCAL_NAME_MAX];
        ssize_t n = -ENOENT;

        snprintf(encrypted, sizeof(encrypted), "blockstore.%s", image ?: "default");
        if (image)
                n = read_password(directory, "password", ret);
        if (image && n == -ENOENT) {
                n = read_password(directory, encrypted, ret);
                if (n == 0)
                        n = -ENOENT;
        }
        if (n == -ENOENT)
                n = read_password(directory, "password-default", ret);
        if (n == -ENOENT) {
                n = read_password(directory, "blockstore.default", ret);
                if (n == 0)
                        n = -ENOENT;
        }
        return n;
}

static int copy(const char *text, char **ret) {
        *ret = text ? strdup(text) : NULL;
        return text && !*ret ? -ENOMEM : 0;
}

static int take_tls(const struct host_config *config, struct credentials *credentials) {
        struct tls_files files = {};
        int r;

        r = copy(config->tls_ca, &files.ca);
        if (r >= 0)
                r = copy(config->tls_certificate, &files.certificate);
        if (r >= 0)
                r = copy(config->tls_key, &files.key);
        if (r >= 0)
                r = tls_client_new(&credentials->tls, &files);
        tls_files_done(&files);
        return r;
}

int credentials_load(const struct host_config *config, const char *image, const struct passed_password *passed,
        struct credentials **ret, char **ret_message) {
        _cleanup_(credentials_freep) struct credentials *credentials = NULL;
        const char *directory = getenv("CREDENTIALS_DIRECTORY");
        char text[PASSWORD_LINE_MAX];
        ssize_t n = -ENOENT;
        int r = 0;

        if (!config->user)
                return refuse_with(ret_message, -EINVAL,
                        "No user to log in as: set \"user\" in " HOST_CONFIG_DIRECTORY
                        "/blockstore.json or in the image's file.");
        if (strlen(config->user) == 0 || strlen(config->user) > IVBS_USER_SIZE)
                return refuse_with(ret_message, -EINVAL, "The user name \"%s\" is not of 1-%u bytes.", config->user,
                        IVBS_USER_SIZE);

        if (directory)
                n = find_password(directory, image, text);
        if (n == -ENOENT && passed && passed->there) {
                if (passed->refused)
                        return refuse_with(
                                ret_message, -ENOKEY, "No password for user \"%s\". %s", config->user, passed->line);
                n = (ssize_t) passed->n;
                memcpy(text, passed->line, passed->n);
        }
        if (n > 0) {
                credentials = calloc(1, sizeof(*credentials));
                r = credentials ? ivbs_hash_password(text, (size_t) n, credentials->password) : -ENOMEM;
                if (r >= 0)
                        r = login_keys_new(&credentials->keys, credentials->password);
        }
        explicit_bzero(text, sizeof(text));

        if (n == -ENOENT)
                return refuse_with(ret_message, -ENOKEY,
                        "No password for user \"%s\": neither credential blockstore.%s nor blockstore.default was "
                        "found in systemd's credential "
                        "stores. Write the password to /etc/credstore/blockstore.default (mode 0600).",
                        config->user, image ?: "NAME");
        if (n < 0)
                return refuse_with(ret_message, (int) n,
                        "The credential with the password for user \"%s\" cannot be read: %s.", config->user,
                        strerror((int) -n));
        if (n == 0)
                return refuse_with(ret_message, -ENOKEY, "The credential with the password for user \"%s\" is empty.",
                        config->user);
        if (r < 0)
                return refuse_with(ret_message, r, "Out of memory.");

        r = take_tls(config, credentials);
        if (r < 0)
                return refuse_with(ret_message, r, "Out of memory.");
        strcpy(credentials->user, config->user);
        *ret = TAKE_PTR(credentials);
        return 0;
}

struct credentials *credentials_free(struct credentials *credentials) {
        if (!credentials)
                return NULL;

        login_keys_free(credentials->keys);
        tls_client_free(credentials->tls);
        explicit_bzero(credentials, sizeof(*credentials));
        free(credentials);
        return NULL;
}
