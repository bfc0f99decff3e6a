/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Bytes from one descriptor to another, counted and hashed on their way. */

#include <stdatomic.h>
#include <stdint.h>

#include "cleanup.h"

#define CHECKSUM_SIZE 65U /* SHA-256 in hexadecimal, with its end */

struct pump;

/* done is added to as bytes pass, and may be looked at from other threads. */
int pump_new(_Atomic uint64_t *done, struct pump **ret);
struct pump *pump_free(struct pump *pump);
DEFINE_CLEANUP(struct pump *, pump_free);

/* Passes on up to n bytes from in to out (-EBADF: they are only counted and hashed). Returns 1 at the end of in, 0 when n have passed, or a negative errno: -EPIPE when nobody reads out any more. */
int pump_run(struct pump *pump, int in, int out, uint64_t n);
/* Bytes so far. */
uint64_t pump_bytes(const struct pump *pump);
/* SHA-256 of all that has passed; the last call. Returns 0 or -EIO. */
int pump_finish(struct pump *pump, char ret[static CHECKSUM_SIZE]);
