/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* ResizeImage: the store, and the device of this host, in the order that loses nothing. */

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-bus.h>

struct image;
struct manager;
struct resize;

struct resize_wish {
        uint64_t size; /* bytes */
        bool force_shrink;
};

/* Reads "ta{sv}". Returns 0 or more, or a negative errno with error set. */
int resize_wish_read(sd_bus_message *message, struct resize_wish *ret, sd_bus_error *error);

/* name: the store's. Takes over the answer when it returns 0; else error is set. */
int resize_start(struct manager *manager, const char *name, const struct resize_wish *wish, sd_bus_message *message,
        sd_bus_error *error);
/* Whether the device is being made smaller than that. resize may be NULL. */
bool resize_is_below(const struct resize *resize, uint64_t size);
/* The image's device has another size. */
void resize_size_changed(struct manager *manager, const struct image *image);

/* Nobody waits for the answers any more: what was begun is finished. */
void resizes_forget(struct manager *manager);
/* At the end. */
void resizes_free(struct manager *manager);
