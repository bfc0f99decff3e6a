/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What one step of a transfer is, in programs and their arguments. Each returns 0, or -1 after work_fail(). */

#include "work.h"

/* Whose share of done a run of a program is. */
struct work_window {
        struct work *work;
        uint64_t from, n; /* bytes */
};

/* Images have whole sectors. */
static inline uint64_t work_round(uint64_t size) {
        return (size + WORK_SECTOR - 1) / WORK_SECTOR * WORK_SECTOR;
}

/* work.c. */
int work_fail(struct work *work, enum failure failure, const char *format, ...) _printf_(3, 4);
/* What a program's end means: status as of tool_wait(). */
int work_judge(struct work *work, const char *program, int status, const char *complaint);
/* For qemu_img_run(); userdata is a window. */
void work_advance(double share, void *userdata);

/* n bytes of the content of file, from from on, to the image at offset to, and a flush. */
int work_copy_slice(struct work *work, int file, uint64_t from, uint64_t to, uint64_t n);
int work_import_stream(struct work *work);
int work_export_file(struct work *work);
int work_export_stream(struct work *work);
/* SHA-256 of the content: as the store has it, as the raw file has it. */
int work_hash_image(struct work *work, char ret[static CHECKSUM_SIZE]);
int work_hash_file(struct work *work, char ret[static CHECKSUM_SIZE]);
/* File and image, as qemu-img sees them. */
int work_compare(struct work *work);
