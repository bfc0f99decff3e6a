/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

/* All n bytes to a blocking descriptor, however many writes that takes; an interruption is no error. Returns 0 or a negative errno, and then nobody knows how much was written. */
int write_all(int fd, const void *data, size_t n);
