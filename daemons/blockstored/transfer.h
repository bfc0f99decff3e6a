/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Imports and exports: what they are asked to be, and beginning one. docs/store.md says what they do for users. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include <systemd/sd-bus.h>

#include "cleanup.h"

#define TRANSFERS_MAX             8U
#define TRANSFER_CHECKSUM_SIZE    65U
#define TRANSFER_SLICE            (256U * 1024U * 1024U) /* an import goes on from a multiple of it */
#define TRANSFER_STAGE_SUFFIX     ".import" /* what an image is called in the store until it is complete */
#define TRANSFER_LOCAL_NAME_SIZE  26U       /* "transfer-" and 16 digits */
#define TRANSFER_STORE_NAME_BYTES 256U

struct manager;
struct image;
struct job;
struct transfer;

struct transfer_wish {
        bool export, stream, overwrite, resume, keep, checksum, verify;
        bool checksums; /* the image is to have some */
        char name[TRANSFER_STORE_NAME_BYTES];
        char format[8]; /* "raw", "qcow2" */
        char expected[TRANSFER_CHECKSUM_SIZE];
        uint64_t size;        /* bytes of content; 0: the file's own, or for an export the image's */
        int64_t changed_usec; /* when the file was changed last, µs since 1970 */
        uint64_t file_size;
        int file; /* ours */
};

/* Reads the arguments of ImportImage and ExportImage. Returns 0, or a negative errno with error set. */
int transfer_wish_read(sd_bus_message *message, bool export, struct transfer_wish *ret, sd_bus_error *error);
void transfer_wish_done(struct transfer_wish *wish);

/* Takes the wish (emptied). Returns 0 with its job, or a negative errno with error set. */
int transfer_start(struct manager *manager, struct transfer_wish *wish, struct job **ret, sd_bus_error *error);
/* What an earlier supervisor has left: the attachments of its transfers are ended. */
void transfers_sweep(struct manager *manager);
/* An image has another state or size. */
void transfers_image_changed(struct manager *manager, const struct image *image);
/* All of them end as they are. */
void transfers_free(struct manager *manager);

/* The local name that an image of the store has while it is imported or exported; whether a local name is such a one. */
void transfer_local_name(const char *image, char ret[static TRANSFER_LOCAL_NAME_SIZE]);
bool transfer_is_local_name(const char *name);
