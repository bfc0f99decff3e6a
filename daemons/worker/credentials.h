/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who this host is to the store. The password comes from systemd's credential store, and only its hash, which is equivalent to it, stays in memory. */

#include "cleanup.h"
#include "host-config.h"
#include "login-keys.h"
#include "passed-password.h"

struct credentials {
        char user[IVBS_USER_SIZE + 1];
        char password[IVBS_PASSWORD_SIZE]; /* as LOGIN carries it; no terminator */
        struct login_keys *keys;           /* for SCRAM; NULL: it is not used */
        struct tls_client *tls;            /* NULL: it is not used */
};

/* Looks for "password" (the image's own), then "password-default" in $CREDENTIALS_DIRECTORY, where a drop-in of the unit may have put it, and then at what was passed, which may be NULL; the first line is the password. Returns 0, or
 * a negative errno with *ret_message a sentence that says what is missing, where it was looked for and how to mend it. image: the local name, for the message; NULL for store operations. */
int credentials_load(const struct host_config *config, const char *image, const struct passed_password *passed,
        struct credentials **ret, char **ret_message);
struct credentials *credentials_free(struct credentials *credentials); /* wipes */
DEFINE_CLEANUP(struct credentials *, credentials_free);
