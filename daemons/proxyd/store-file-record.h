/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The two kinds of JSON record in a file store, and the one way they are replaced. */

#include <stdint.h>

#include <systemd/sd-id128.h>

#include "cleanup.h"
#include "lease.h"
#include "store.h"

#define STORE_FORMAT      1U
#define STORE_RECORD_NAME "store.json"
#define IMAGE_RECORD_NAME "record.json"
#define HOLDER_NAME       "holder"
#define INTENT_NAME       "intent.json"

struct store_record {
        sd_id128_t uuid;
        sd_id128_t machine_id; /* app-specific, of the machine that the store belongs to */
        uint64_t error_epoch;
        uint64_t directory_inode,
                directory_born_nsec; /* of the store's directory, see store-file-check.c; 0: not known */
};

struct image_record {
        sd_id128_t uuid;
        uint64_t size;         /* bytes */
        uint64_t size_epoch;   /* how often that has changed */
        uint64_t created_usec; /* CLOCK_REALTIME */
        bool checksums;        /* see store-file-sums.h */
        struct store_limits limits;
        struct lease lease;
};

/* What is going to be done with an image: its data becomes what that file is, and its size that size. See store-file-intent.c. */
#define INTENT_DATA_SIZE 32U
struct image_intent {
        char data[INTENT_DATA_SIZE]; /* a name in the image's directory */
        uint64_t size;               /* bytes */
};

/* shown: what messages call the directory. Load returns 0, -ENOENT, -EUCLEAN (cut, damaged, of a newer version:
 * *ret_message says it), or another negative errno. Save replaces the record atomically and durably, and returns 0 or
 * a negative errno with the old record in place. Callers see to it that nobody else replaces it at the same time. */
int store_record_load(int directory_fd, const char *shown, struct store_record *ret, char **ret_message);
int store_record_save(int directory_fd, const struct store_record *record);
int image_record_load(int directory_fd, const char *shown, struct image_record *ret, char **ret_message);
int image_record_save(int directory_fd, const struct image_record *record);

int image_intent_load(int directory_fd, const char *shown, struct image_intent *ret, char **ret_message);
int image_intent_save(int directory_fd, const struct image_intent *intent);

/* Who holds an image. Written in place and never synced: it says something about processes, and they do not outlive the page cache. Both under the lock of
 * the directory. Load as above. */
int holder_record_load(int directory_fd, const char *shown, struct store_holder *ret, char **ret_message);
int holder_record_save(int directory_fd, const struct store_holder *holder);

/* Called between any two steps that a crash could separate; for tests, NULL else. */
extern void (*store_file_step)(const char *step);
static inline void store_file_stepped(const char *step) {
        if (store_file_step)
                store_file_step(step);
}
