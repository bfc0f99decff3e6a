/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* CRC-32C (Castagnoli), reflected, as iSCSI (RFC 3720), ext4 and btrfs use it. */

#include <stddef.h>
#include <stdint.h>

/* Of n bytes; previous: of what stands before them, 0 at the beginning. */
uint32_t crc32c(uint32_t previous, const void *data, size_t n);

/* The same without the processor's instruction: what crc32c() is where there is none. */
uint32_t crc32c_portable(uint32_t previous, const void *data, size_t n);
