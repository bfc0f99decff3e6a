/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What systemd has read for us, as root, from the credential stores. */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "settings.h"

#define PEM_MAX (64U * 1024U)

static int complain(char **ret_message, const char *text) {
        *ret_message = strdup(text);
        return -EINVAL;
}

/* At most max bytes, with a 0 behind them. Returns 1, 0 when there is none, or a negative errno: -EFBIG. */
static int read_credential(const char *name, size_t max, char **ret, size_t *ret_n) {
        const char *directory = getenv("CREDENTIALS_DIRECTORY");
        _cleanup_close_ int fd = -EBADF;
        char path[PATH_MAX];
        size_t n = 0;
        char *text;

        if (!directory)
                return 0;
        if ((size_t) snprintf(path, sizeof path, "%s/%s", directory, name) >= sizeof path)
                return -ENAMETOOLONG;
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;

        text = malloc(max + 2);
        if (!text)
                return -ENOMEM;
        while (n <= max) {
                ssize_t k = read(fd, text + n, max + 1 - n);

                if (k == 0)
                        break;
                if (k < 0 || n + (size_t) k > max) {
                        int r = k < 0 ? -errno : -EFBIG;

                        explicit_bzero(text, max + 2);
                        free(text);
                        return r;
                }
                n += (size_t) k;
        }
        text[n] = 0;
        *ret = text;
        *ret_n = n;
        return 1;
}

static void forget(char *text) {
        explicit_bzero(text, strlen(text));
        free(text);
}

/* One line. What a token may consist of is what an HTTP header can carry. */
static int load_token(struct settings *settings, char **ret_message) {
        char *text = NULL;
        size_t n = 0;
        int r;

        r = read_credential("token", TOKEN_MAX + 1, &text, &n);
        if (r == 0 || (r < 0 && r != -EFBIG))
                return r;
        if (text) {
                if (n > 0 && text[n - 1] == '\n')
                        text[--n] = 0;
                r = n >= TOKEN_MIN && n <= TOKEN_MAX ? 0 : -EINVAL;
                for (size_t i = 0; i < n; i++)
                        if (text[i] <= ' ' || text[i] > '~')
                                r = -EINVAL;
        }
        if (r == 0) {
                settings->token = text;
                return 0;
        }

        if (text)
                forget(text);
        if (asprintf(ret_message,
                    "credential token: expected one line of %u to %u printable characters without blanks", TOKEN_MIN,
                    TOKEN_MAX) < 0)
                *ret_message = NULL;
        return -EINVAL;
}

static int load_pem(const char *name, const char *what, char **ret, char **ret_message) {
        char *text = NULL;
        size_t n = 0;
        int r;

        r = read_credential(name, PEM_MAX, &text, &n);
        if (r == 0 || (r < 0 && r != -EFBIG))
                return r;
        if (text && strlen(text) == n && strstr(text, what)) {
                *ret = text;
                return 0;
        }

        if (text)
                forget(text);
        if (asprintf(ret_message, "credential %s: expected PEM (\"%s\"), at most %u bytes", name, what, PEM_MAX) < 0)
                *ret_message = NULL;
        return -EINVAL;
}

int settings_load_credentials(struct settings *settings, char **ret_message) {
        int r;

        if ((r = load_token(settings, ret_message)) < 0 ||
                (r = load_pem("certificate", "-----BEGIN CERTIFICATE-----", &settings->certificate, ret_message)) <
                        0 ||
                (r = load_pem("key", "PRIVATE KEY-----", &settings->key, ret_message)) < 0 ||
                (r = load_pem("client-ca", "-----BEGIN CERTIFICATE-----", &settings->client_ca, ret_message)) < 0)
                return r;

        if (!settings->certificate != !settings->key)
                return complain(ret_message, settings->key
                                                     ? "credential key: there is no credential certificate to it"
                                                     : "credential certificate: there is no credential key to it");
        if (settings->client_ca && !settings->certificate)
                return complain(ret_message,
                        "credential client-ca: clients show certificates only where there is TLS, and there are no "
                        "credentials certificate and key");
        return 0;
}
