/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where systemd looks for a credential that is named without a path, first to last: systemd.exec(5), LoadCredential=, and what was passed to the system itself. Each list ends with NULL. */

#define CREDENTIAL_STORES_N 5U /* in each list */

extern const char *const credential_stores[CREDENTIAL_STORES_N + 1];
extern const char *const credential_stores_encrypted[CREDENTIAL_STORES_N + 1];

/* Before the name of an image, and what counts for those that have none of their own. */
#define CREDENTIAL_PREFIX  "blockstore."
#define CREDENTIAL_DEFAULT "blockstore.default"
