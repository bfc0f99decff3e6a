/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "output.h"
#include "verbs.h"

int verb_version(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(json_object_putp) struct json_object *version = NULL;

        if (cli->json == JSON_OFF) {
                puts("blockstorectl " BLOCKSTORE_VERSION);
                return 0;
        }

        version = json_object_new_object();
        if (!version || json_object_object_add(version, "version", json_object_new_string(BLOCKSTORE_VERSION)) < 0)
                return -ENOMEM;

        output_json(cli, version);
        return 0;
}
