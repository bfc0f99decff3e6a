/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What one user may have of a proxy: so many connections, so many images. Counted anew each time, over the sessions there are: logins and attaches are few, and a counter would have to be right in every way out. */

#include <string.h>

#include "client.h"

bool client_user_has_room(const struct client *client, const char *user) {
        const struct client *other;
        unsigned n = 0;

        if (client->proxy->settings->user_clients_max == UINT64_MAX)
                return true;
        TAILQ_FOREACH(other, &client->proxy->clients, entry)
                n += other != client && strcmp(other->user, user) == 0;
        return n < client->proxy->settings->user_clients_max;
}

/* Whether an image is counted here: by the first of the user's sessions that have it. */
static bool is_first(const struct client *client) {
        const struct client *other;

        TAILQ_FOREACH(other, &client->proxy->clients, entry) {
                if (other == client)
                        return true;
                if (strcmp(other->user, client->user) == 0 && other->attachment.image == client->attachment.image)
                        return false;
        }
        return true;
}

bool client_user_may_attach(const struct client *client, const char *name) {
        const struct client *other;
        unsigned n = 0;

        if (client->proxy->settings->user_images_max == UINT64_MAX)
                return true;
        TAILQ_FOREACH(other, &client->proxy->clients, entry) {
                if (other == client || strcmp(other->user, client->user) != 0 || !other->attachment.image)
                        continue;
                if (strcmp(other->attachment.image->name, name) == 0)
                        return true;
                n += is_first(other);
        }
        return n < client->proxy->settings->user_images_max;
}
