/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Base64 with padding and without line breaks (RFC 4648, section 4). Only the one canonical spelling of a value is accepted. */

#include <stddef.h>
#include <stdint.h>

#define BASE64_SIZE(n) (((n) + 2U) / 3U * 4U)

/* Writes BASE64_SIZE(n) characters and a terminator. n: at most 1 MiB. Returns the number of characters. */
size_t base64_encode(const uint8_t *data, size_t n, char *ret);

/* text[0..n) to at most max bytes. Returns their number (0 for an empty text), -EBADMSG, or -EMSGSIZE when there are more; ret is untouched then. */
int base64_decode(const char *text, size_t n, uint8_t *ret, size_t max);
