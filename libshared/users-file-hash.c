/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The slow hashes of users files. crypt_data is 32 KiB and holds what it was fed, so it lives on the heap and is wiped.
 */

#include <crypt.h>
#include <string.h>

#include "scram-keys.h"
#include "users-file.h"

static struct crypt_data *crypt_data_free(struct crypt_data *data) {
        if (data) {
                explicit_bzero(data, sizeof(*data));
                free(data);
        }
        return NULL;
}
DEFINE_CLEANUP(struct crypt_data *, crypt_data_free);

/* Returns a hash that lives in data, or NULL with a negative errno in *ret_error. */
static const char *hash(
        const char *setting, const char password[static IVBS_PASSWORD_SIZE], struct crypt_data *data, int *ret_error) {
        char phrase[IVBS_PASSWORD_SIZE + 1];
        const char *made;
        int error;

        memcpy(phrase, password, IVBS_PASSWORD_SIZE);
        phrase[IVBS_PASSWORD_SIZE] = 0;

        /* crypt_rn() returns NULL on failure, unlike crypt(), whose failure tokens would compare as a hash. */
        errno = 0;
        made = crypt_rn(phrase, setting, data, (int) sizeof(*data));
        error = errno;
        explicit_bzero(phrase, sizeof(phrase));
        if (!made)
                *ret_error = error > 0 ? -error : -EINVAL;

        return made;
}

int users_file_hash(const char password[static IVBS_PASSWORD_SIZE], char **ret) {
        _cleanup_(crypt_data_freep) struct crypt_data *data = calloc(1, sizeof(*data));
        char setting[CRYPT_GENSALT_OUTPUT_SIZE], *copy;
        const char *made;
        int r = 0;

        if (!data)
                return -ENOMEM;

        /* Cost 0: the library's present default, which new passwords follow and old hashes carry in themselves. The
         * salt comes from the kernel. */
        errno = 0;
        if (!crypt_gensalt_rn("$y$", 0, NULL, 0, setting, (int) sizeof(setting)))
                return errno > 0 ? -errno : -EINVAL;
        made = hash(setting, password, data, &r);
        if (!made)
                return r;

        copy = strdup(made);
        if (!copy)
                return -ENOMEM;
        *ret = copy;
        return 0;
}

int users_file_scram(const char password[static IVBS_PASSWORD_SIZE], char **ret) {
        char text[SCRAM_TEXT_MAX], *copy;
        int r;

        r = scram_text_make(SCRAM_DEFAULT, SCRAM_ITERATIONS_DEFAULT, password, IVBS_PASSWORD_SIZE, text);
        if (r < 0)
                return r;
        copy = strdup(text);
        explicit_bzero(text, sizeof(text));
        if (!copy)
                return -ENOMEM;
        *ret = copy;
        return 0;
}

int users_file_verify(const char *stored, const char password[static IVBS_PASSWORD_SIZE]) {
        _cleanup_(crypt_data_freep) struct crypt_data *data = calloc(1, sizeof(*data));
        unsigned char difference = 0;
        const char *made;
        size_t n;
        int r = 0;

        if (!data)
                return -ENOMEM;

        made = hash(stored, password, data, &r);
        if (!made)
                return r;

        n = strlen(stored);
        if (strlen(made) != n)
                return 0;
        for (size_t i = 0; i < n; i++)
                difference |= (unsigned char) (made[i] ^ stored[i]);
        return difference == 0;
}
