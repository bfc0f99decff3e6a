/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* RFC 8446, 7.3: key and IV are one block of HKDF-Expand each. The number of the first record is 0: the other side's first words under this secret are what the kernel is to get. */

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "tls-kernel.h"

#ifndef SOL_TLS
#define SOL_TLS 282 /* linux/socket.h, which user space does not get */
#endif

#define CIPHER_AES_128_GCM       0x1301U
#define CIPHER_AES_256_GCM       0x1302U
#define CIPHER_CHACHA20_POLY1305 0x1303U

#define IV_SIZE                  12U
#define SALT_SIZE                4U /* the part of it that the kernel calls so */

/* n: at most what the hash has. */
static int expand(
        const EVP_MD *hash, const uint8_t *secret, size_t n_secret, const char *label, uint8_t *ret, size_t n) {
        uint8_t info[32] = { 0, (uint8_t) n }, block[EVP_MAX_MD_SIZE];
        int len = snprintf((char *) info + 3, sizeof(info) - 5, "tls13 %s", label);
        unsigned size = sizeof(block);

        info[2] = (uint8_t) len;
        info[3 + len] = 0; /* no context */
        info[4 + len] = 1; /* the first block */
        if (!HMAC(hash, secret, (int) n_secret, info, 5 + (size_t) len, block, &size) || n > size)
                return -EINVAL;
        memcpy(ret, block, n);
        explicit_bzero(block, sizeof(block));
        return 0;
}

int tls_kernel_keys(
        unsigned cipher, const uint8_t *secret, size_t n_secret, union tls_kernel_keys *ret, size_t *ret_size) {
        const EVP_MD *hash = cipher == CIPHER_AES_256_GCM ? EVP_sha384() : EVP_sha256();
        uint8_t *key, *salt = NULL, *iv, whole_iv[IV_SIZE];
        size_t n_key;
        int r;

        if (n_secret != (size_t) EVP_MD_get_size(hash))
                return -EINVAL;
        *ret = (union tls_kernel_keys){};
        switch (cipher) {
        case CIPHER_AES_128_GCM:
                ret->info.cipher_type = TLS_CIPHER_AES_GCM_128;
                key = ret->aes_128.key, salt = ret->aes_128.salt, iv = ret->aes_128.iv;
                n_key = sizeof(ret->aes_128.key);
                *ret_size = sizeof(ret->aes_128);
                break;
        case CIPHER_AES_256_GCM:
                ret->info.cipher_type = TLS_CIPHER_AES_GCM_256;
                key = ret->aes_256.key, salt = ret->aes_256.salt, iv = ret->aes_256.iv;
                n_key = sizeof(ret->aes_256.key);
                *ret_size = sizeof(ret->aes_256);
                break;
        case CIPHER_CHACHA20_POLY1305:
                ret->info.cipher_type = TLS_CIPHER_CHACHA20_POLY1305;
                key = ret->chacha20.key, iv = ret->chacha20.iv;
                n_key = sizeof(ret->chacha20.key);
                *ret_size = sizeof(ret->chacha20);
                break;
        default:
                return -EOPNOTSUPP;
        }
        ret->info.version = TLS_1_3_VERSION;

        r = expand(hash, secret, n_secret, "key", key, n_key);
        if (r >= 0)
                r = expand(hash, secret, n_secret, "iv", whole_iv, sizeof(whole_iv));
        if (r < 0)
                return r;
        if (salt) {
                memcpy(salt, whole_iv, SALT_SIZE);
                memcpy(iv, whole_iv + SALT_SIZE, IV_SIZE - SALT_SIZE);
        } else
                memcpy(iv, whole_iv, IV_SIZE);
        return 0;
}

int tls_kernel_receive(const SSL *ssl, int fd, const struct tls_notes *notes) {
        union tls_kernel_keys keys;
        size_t size;
        int r;

        if (SSL_version(ssl) != TLS1_3_VERSION || notes->n_secret == 0)
                return -EOPNOTSUPP;
        r = tls_kernel_keys(
                SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl)), notes->secret, notes->n_secret, &keys, &size);
        if (r >= 0 && setsockopt(fd, SOL_TLS, TLS_RX, &keys, (socklen_t) size) < 0)
                r = -errno;
        explicit_bzero(&keys, sizeof(keys));
        return r;
}
