/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Images of the file store that have checksums. Their reads and writes wait for more than one thing, so they are done on threads, which only a store with such an image has. Here is what goes to which thread
 * when; what is done there is in sums.h. */

#include "jobs.h"
#include "store.h"

#define SUMS_NAME "sums" /* beside data */

struct file_image;
struct file_store;
struct file_sums;

/* image->data_fd is open. Returns 0, -EUCLEAN (which has been complained about), or another negative errno. */
int store_file_sums_open(struct file_image *image);
struct file_sums *store_file_sums_close(struct file_sums *sums);
/* The threads end; what waited for them is never done. After the ring. */
void store_file_sums_stop(struct file_store *store);

/* As store_ops.submit(), of everything but a flush. */
void store_file_sums_submit(struct store_io *io);
/* Around the sync of a flush; done() comes with its result. */
void store_file_sums_sync_begins(struct file_sums *sums);
void store_file_sums_seal(struct file_sums *sums, void (*done)(void *userdata, int error), void *userdata);
void store_file_sums_let_go(struct file_sums *sums);

/* See store-file-size.c, and sums.h. */
int store_file_sums_expect_cut(struct file_sums *sums, uint64_t size);
int store_file_sums_cut(struct file_sums *sums, uint64_t size);
int store_file_sums_was_cut(struct file_sums *sums, uint64_t size);

/* Gives an image, which nobody has open and which is locked, checksums. */
int store_file_sums_add(int directory_fd);
