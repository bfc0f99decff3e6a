/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <string.h>

#include "verbs.h"

/* In the order in which --help shows them: what is used most comes first. */
const struct verb verbs[] = {
        { "attach", "NAME[@SNAP]", "Attach an image: start image@NAME and wait until its device is usable", 1, 1,
                attach_options, verb_attach, NULL },
        { "detach", "NAME", "Flush and disconnect an image's device and stop image@NAME", 1, 1, detach_options,
                verb_detach, NULL },
        { "list", "", "Show the images that are attached, configured or in the store", 0, 0, list_options, verb_list,
                NULL },
        { "status", "[NAME]", "Show all facts of an image, or a summary", 0, 1, NULL, verb_status, NULL },
        { "create", "NAME SIZE", "Create an image in the store (4096, 64M, 1.5G: powers of 1024)", 2, 2,
                create_options, verb_create, NULL },
        { "resize", "NAME SIZE", "Give an image another size (10G, or +10G), attached or not", 2, 2, resize_options,
                verb_resize, NULL },
        { "remove", "NAME", "Remove an image and its data from the store", 1, 1, remove_options, verb_remove, NULL },
        { "rename", "NAME NEW-NAME", "Give an image in the store another name", 2, 2, NULL, verb_rename, NULL },
        { "snapshot", "VERB", "Make, show, remove and use snapshots of an image", 0, 0, NULL, NULL, snapshot_verbs },
        { "clone", "NAME@SNAP NEW-NAME", "Make an image of a snapshot", 2, 2, wait_options, verb_clone, NULL },
        { "import", "FILE NAME", "Make an image of a raw or qcow2 file (-: standard input)", 2, 2, import_options,
                verb_import, NULL },
        { "export", "NAME[@SNAP] FILE", "Write an image's content to a file (-: standard output)", 2, 2,
                export_options, verb_export, NULL },
        { "store", "VERB", "Look after the store", 0, 0, NULL, NULL, store_verbs },
        { "proxies", "[NAME]", "Show the proxies that this host knows, or those of an image", 0, 1, NULL, verb_proxies,
                NULL },
        { "proxy", "VERB", "Manage one proxy", 0, 0, NULL, NULL, proxy_verbs },
        { "monitor", "", "Print changes as they happen", 0, 0, NULL, verb_monitor, NULL },
        { "doctor", "[NAME...]", "Look for what is wrong on this host, and say what mends it", 0, 64, doctor_options,
                verb_doctor, NULL },
        { "scrub", "[NAME]", "Compare the data of an image with their checksums", 0, 1, scrub_options, verb_scrub,
                NULL },
        { "limit", "NAME", "Show or set the limits of an image", 1, 1, limit_options, verb_limit, NULL },
        { "heatmap", "NAME", "Draw where an attached image is read and written", 1, 1, NULL, verb_heatmap, NULL },
        { "upgrade", "", "Replace the workers of all images by the installed ones, without a pause", 0, 0,
                upgrade_options, verb_upgrade, NULL },
        { "import-config", "FILE", "Take over the images and users of an ivbsnetd configuration", 1, 1,
                import_config_options, verb_import_config, NULL },
        { "shell", "", "Understand the words of the classic control program: check, lista, listm, mount, umount", 0, 0,
                NULL, verb_shell, NULL },
        { "user", "VERB", "Keep the file of users of a proxy", 0, 0, NULL, NULL, user_verbs },
        { "help", "[VERB...]", "Show this help, or that of one verb", 0, 2, NULL, verb_help, NULL },
        { "version", "", "Show the version", 0, 0, NULL, verb_version, NULL },
        { NULL },
};

const struct verb *verb_find(const struct verb *table, const char *name) {
        for (const struct verb *v = table; v->name; v++)
                if (strcmp(v->name, name) == 0)
                        return v;

        return NULL;
}
