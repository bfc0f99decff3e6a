/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The files are looked at before each connection, of which there are few: who renews a certificate has nobody to tell. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tls-client.h"

#define N_FILES 3U

/* Enough to see that it is another file, or has been written to. */
struct look {
        dev_t device;
        ino_t inode;
        off_t size;
        struct timespec changed;
};

struct tls_client {
        struct tls_files files;
        struct look looks[N_FILES];
        struct tls_relay *relay;
        struct tls_context *context;
};

int tls_client_new(struct tls_client **ret, struct tls_files *files) {
        struct tls_client *client = calloc(1, sizeof(*client));

        if (!client)
                return -ENOMEM;
        client->files = *files;
        *files = (struct tls_files){};
        *ret = client;
        return 0;
}

struct tls_client *tls_client_free(struct tls_client *client) {
        if (!client)
                return NULL;

        tls_relay_free(client->relay);
        tls_context_unref(client->context);
        tls_files_done(&client->files);
        free(client);
        return NULL;
}

static void look_at(const struct tls_client *client, struct look ret[static N_FILES]) {
        const char *const paths[N_FILES] = { client->files.ca, client->files.certificate, client->files.key };
        struct stat st;

        memset(ret, 0, N_FILES * sizeof(*ret));
        for (size_t i = 0; i < N_FILES; i++)
                if (paths[i] && stat(paths[i], &st) >= 0) {
                        ret[i].device = st.st_dev;
                        ret[i].inode = st.st_ino;
                        ret[i].size = st.st_size;
                        ret[i].changed = st.st_mtim;
                }
}

static int refresh(struct tls_client *client, char **ret_message) {
        struct tls_context *context = NULL;
        struct look looks[N_FILES];
        int r;

        /* Before they are read: what changes meanwhile is seen the next time. */
        look_at(client, looks);
        if (client->context && memcmp(looks, client->looks, sizeof(looks)) == 0)
                return 0;

        r = tls_context_new(&context, false, &client->files, ret_message);
        if (r < 0)
                return r;
        memcpy(client->looks, looks, sizeof(looks));
        tls_context_unref(client->context);
        client->context = context;
        return 0;
}

int tls_client_prepare(struct tls_client *client, struct tls_relay **ret_relay, struct tls_context **ret_context,
        char **ret_message) {
        char *message = NULL;
        int r;

        r = client->relay ? 0 : tls_relay_new(&client->relay);
        if (r < 0) {
                *ret_message = NULL;
                return r;
        }
        r = refresh(client, &message);
        if (r < 0 && !client->context) {
                *ret_message = message;
                return r;
        }
        free(message);
        *ret_relay = client->relay;
        *ret_context = tls_context_ref(client->context);
        return 0;
}
