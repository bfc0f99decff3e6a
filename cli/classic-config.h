/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* config.txt of ivbsnetd, the driver that this suite replaces: {"Mounted": [{"NbdDevice", "ImageName"}...], "User": [{"Username", "Password"}...]}, where entry i of the one belongs to entry i of the other. */

#include <stddef.h>

#include "cleanup.h"

#define CLASSIC_IMAGES_MAX 1024U

struct classic_image {
        char *image;           /* the store's name */
        char *local;           /* what it can be called here: image, or made of it; NULL if nothing can be */
        char *device;          /* "/dev/nbd0", "" for none */
        char *user, *password; /* NULL: there is no entry for it */
};

struct classic_config {
        struct classic_image *images;
        size_t n_images, n_users;
};

/* What a unit's instance and a file can be called, made of the store's name of an image; NULL when nothing can be made of it, or without memory. */
char *classic_local_name(const char *image);

/* Keys in any case, as ivbsnetd took them, and others ignored. Returns 0, or a negative errno with *ret_message a sentence "FILE:LINE: ..." or "FILE: ...", NULL when there is no memory for one. */
int classic_config_read(const char *path, struct classic_config **ret, char **ret_message);
/* Wipes the passwords. */
struct classic_config *classic_config_free(struct classic_config *config);
DEFINE_CLEANUP(struct classic_config *, classic_config_free);
