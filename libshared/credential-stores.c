/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stddef.h>

#include "credential-stores.h"

const char *const credential_stores[CREDENTIAL_STORES_N + 1] = {
        "/run/credentials/@system",
        "/etc/credstore",
        "/run/credstore",
        "/usr/local/lib/credstore",
        "/usr/lib/credstore",
        NULL,
};

const char *const credential_stores_encrypted[CREDENTIAL_STORES_N + 1] = {
        "/run/credentials/@encrypted",
        "/etc/credstore.encrypted",
        "/run/credstore.encrypted",
        "/usr/local/lib/credstore.encrypted",
        "/usr/lib/credstore.encrypted",
        NULL,
};
