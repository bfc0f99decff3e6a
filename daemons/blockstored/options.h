/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What AttachImage was given: read from the message, kept for the worker in /run/blockstore/options/NAME.json, removed at detach. */

#include <stdbool.h>

#include <systemd/sd-bus.h>

#include "cleanup.h"

#define OPTION_STRING_MAX  255U
#define OPTION_PROXIES_MAX 64U

struct attach_options {
        int read_only; /* -1 not given, 0, 1 */
        bool steal;
        char *device; /* "nbd" or "none"; NULL: not given, as all below */
        char *image;
        char *user;
        char **proxies; /* NULL-terminated */
};

/* Reads an a{sv}. Returns 0, or a negative errno with error set: unknown keys, wrong types and values that cannot be are refused. */
int attach_options_read(sd_bus_message *message, struct attach_options *options, sd_bus_error *error);
void attach_options_done(struct attach_options *options);
bool attach_options_are_empty(const struct attach_options *options);
/* Ignoring steal, which counts once. */
bool attach_options_equal(const struct attach_options *a, const struct attach_options *b);

/* Writes the file of an image (atomically, mode 0640, group blockstore-worker where there is one), or removes it when there is nothing to keep. Returns 0 or a negative errno. */
int options_write(const char *name, const struct attach_options *options);
/* Returns 0 also when there is none. */
int options_remove(const char *name);

/* The image is attached: a steal that was asked for is spent, a restarted worker must not steal again. */
int options_spend_steal(const char *name);

struct detach_options {
        bool lazy;   /* when nobody holds the device any more */
        bool cancel; /* not any more */
};

/* What DetachImage was given. Returns 0, or a negative errno with error set. */
int detach_options_read(sd_bus_message *message, struct detach_options *options, sd_bus_error *error);

/* Of a method that takes an a{sv} and knows no key yet. Returns 0, or a negative errno with error set for any. */
int no_options_read(sd_bus_message *message, sd_bus_error *error);
