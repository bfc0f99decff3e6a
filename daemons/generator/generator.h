/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* From imagetab, fstab and crypttab to units: see blockstore-generator(8). The images that the files name are gathered first, then written, since what one file says of an image can change what another asks for. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#include "table-file.h"

#define GENERATOR_IMAGES_MAX     4096U
#define GENERATOR_PARTITIONS_MAX 128U

struct generator_paths {
        const char *imagetab, *fstab, *crypttab;
        const char *images; /* images.d: tells "web-part1", an image, from the first partition of "web" */
        const char *normal,
                *early; /* where units are written: beside systemd's other generators, and before what they write */
};

struct image_entry {
        STAILQ_ENTRY(image_entry) entry;
        char *name;
        unsigned line; /* in imagetab; 0: only others name it */
        bool noauto, nofail;
        bool too_early;       /* something that has to be there before the network is wants it */
        char *device_timeout; /* as a unit has it; NULL: the default */
        bool partitions[GENERATOR_PARTITIONS_MAX + 1];
};

STAILQ_HEAD(image_entries, image_entry);

struct generator {
        const struct generator_paths *paths;
        struct image_entries images;
        size_t n_images;
        int error; /* the first */
};

/* A device that a line names, below /dev/blockstore. */
struct image_device {
        const char *path;
        struct image_entry *image;
        unsigned partition; /* 0: the disk */
};

/* Does all of it. What is wrong with a line is said and costs that line only. Returns 0, or the first error (a negative errno) that came of reading and writing; whatever could be written then is there all the same. */
int generator_run(const struct generator_paths *paths);

/* The entry of an image, made when there is none yet. NULL, with generator->error set: no memory, or too many. */
struct image_entry *generator_image(struct generator *generator, const char *name);
struct image_entry *generator_find(struct generator *generator, const char *name);

/* Which image a path is of. Returns 1 with *ret filled and the image's entry marked; 0 if the path is not below /dev/blockstore; -EINVAL if it is, but is none of an image's (complained of); -ENOMEM. */
int generator_device(
        struct generator *generator, const struct table_line *line, const char *path, struct image_device *ret);

/* Keeps the first error of writing, and says which unit it concerns. r may be 0 or more. */
void generator_check(struct generator *generator, const char *unit, int r);

/* One file each. Other files have to be read after imagetab. */
void imagetab_read(struct generator *generator);
void crypttab_read(struct generator *generator);
void fstab_read(struct generator *generator);
