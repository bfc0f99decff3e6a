/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* libcrypto does the work. Its decoder counts padding as data and passes over blanks, so what it returns is spelt again and compared: that leaves one spelling per value, and
 * what was compared as text has been compared as bytes. */

#include <errno.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base64.h"

#define DECODE_MAX 1024U /* bytes; nothing here is longer */

size_t base64_encode(const uint8_t *data, size_t n, char *ret) {
        return (size_t) EVP_EncodeBlock((unsigned char *) ret, data, (int) n);
}

int base64_decode(const char *text, size_t n, uint8_t *ret, size_t max) {
        char again[BASE64_SIZE(DECODE_MAX) + 1];
        uint8_t data[DECODE_MAX];
        int k, r;

        if (n == 0)
                return 0;
        if (n % 4 != 0)
                return -EBADMSG;
        if (n / 4 * 3 > sizeof(data))
                return -EMSGSIZE;

        k = EVP_DecodeBlock(data, (const unsigned char *) text, (int) n);
        if (k >= 0) {
                k -= text[n - 1] == '=';
                k -= text[n - 2] == '=';
        }
        if (k < 0 || base64_encode(data, (size_t) k, again) != n || CRYPTO_memcmp(again, text, n) != 0)
                r = -EBADMSG;
        else if ((size_t) k > max)
                r = -EMSGSIZE;
        else {
                memcpy(ret, data, (size_t) k);
                r = k;
        }

        explicit_bzero(data, sizeof(data));
        explicit_bzero(again, sizeof(again));
        return r;
}
