/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The receiving side of TLS 1.3 for the kernel. OpenSSL 3.0 hands over the sending side, and both of TLS 1.2; the other half came with 3.2. All that it takes are two keys, which follow from a secret that
 * OpenSSL gives to who asks for it. */

#include <stddef.h>
#include <stdint.h>

#include <linux/tls.h>
#include <openssl/ssl.h>

#include "tls-context.h"

union tls_kernel_keys {
        struct tls_crypto_info info;
        struct tls12_crypto_info_aes_gcm_128 aes_128;
        struct tls12_crypto_info_aes_gcm_256 aes_256;
        struct tls12_crypto_info_chacha20_poly1305 chacha20;
};

/* secret: what the sender's traffic begins with (RFC 8446, 7.1). cipher: its number there (B.4). ret_size: how much of ret the kernel is to see. To be wiped by the caller. Returns 0, -EOPNOTSUPP for a cipher that
 * is not known here, or -EINVAL for a secret that is none of it. */
int tls_kernel_keys(
        unsigned cipher, const uint8_t *secret, size_t n_secret, union tls_kernel_keys *ret, size_t *ret_size);

/* The handshake is over, OpenSSL has handed over the sending side and has read nothing since: makes the kernel decrypt what comes. After it OpenSSL can read no more. Returns 0, or a negative errno with which
 * nothing has changed. */
int tls_kernel_receive(const SSL *ssl, int fd, const struct tls_notes *notes);
