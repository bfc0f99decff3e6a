/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Users as a value: parsed from JSON, edited, written back. A file is replaced as a whole (temporary file, fsync,
 * rename, fsync of the directory), so a proxy that reads it at any moment sees the old users or the new ones. The
 * temporary file is made with mode 0600 and gets its final owner and mode before it gets its name: nobody reads a hash
 * in between who may not read the file. */

#include <assert.h>
#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "config.h"
#include "scram-keys.h"
#include "users-file.h"
#include "write-all.h"

static char *user_done(struct users_file_user *user) {
        for (size_t i = 0; i < user->n_read; i++)
                free(user->read[i]);
        for (size_t i = 0; i < user->n_write; i++)
                free(user->write[i]);
        free(user->read);
        free(user->write);
        free(user->name);
        free(user->hash);
        free(user->scram);
        *user = (struct users_file_user){};
        return NULL;
}

int users_file_new(struct users_file **ret) {
        struct users_file *file;

        file = calloc(1, sizeof(*file));
        if (!file)
                return -ENOMEM;

        *ret = file;
        return 0;
}

struct users_file *users_file_free(struct users_file *file) {
        if (!file)
                return NULL;

        for (size_t i = 0; i < file->n_users; i++)
                user_done(file->users + i);
        free(file->users);
        free(file);
        return NULL;
}

bool users_file_name_is_valid(const char *name) {
        size_t n = strlen(name);

        if (n == 0 || n > IVBS_USER_SIZE)
                return false;

        for (const char *p = name; *p; p++)
                if ((unsigned char) *p < 0x20 || *p == 0x7f)
                        return false;
        return true;
}

/* What may stand in a shadow-like field: libcrypt's own rule for hashes. */
static bool hash_is_plausible(const char *hash) {
        if (strlen(hash) < 13 || strlen(hash) > 383 || hash[0] == '*')
                return false;

        for (const char *p = hash; *p; p++)
                if ((unsigned char) *p <= 0x20 || (unsigned char) *p >= 0x7f || strchr(":;!\\", *p))
                        return false;
        return true;
}

static bool scram_is_valid(const char *scram) {
        struct scram_verifier verifier;
        int r;

        r = scram_text_decode(scram, &verifier);
        explicit_bzero(&verifier, sizeof(verifier));
        return r >= 0;
}

static bool pattern_is_valid(const char *pattern) {
        return pattern[0] && strlen(pattern) < IVBS_IMAGE_NAME_SIZE;
}

struct users_file_user *users_file_find(const struct users_file *file, const char *name) {
        for (size_t i = 0; i < file->n_users; i++)
                if (strcmp(file->users[i].name, name) == 0)
                        return file->users + i;
        return NULL;
}

static int patterns_copy(char **patterns, size_t n, char ***ret, size_t *ret_n) {
        if (n > USERS_FILE_PATTERNS_MAX)
                return -E2BIG;

        *ret = calloc(n + 1, sizeof(char *));
        if (!*ret)
                return -ENOMEM;

        for (size_t i = 0; i < n; i++) {
                if (!pattern_is_valid(patterns[i]))
                        return -EINVAL;
                (*ret)[i] = strdup(patterns[i]);
                if (!(*ret)[i])
                        return -ENOMEM;
                *ret_n = i + 1;
        }
        return 0;
}

static int user_copy(const struct users_file_user *user, struct users_file_user *ret) {
        int r;

        if (!user->name || !users_file_name_is_valid(user->name) || (!user->hash && !user->scram) ||
                (user->hash && !hash_is_plausible(user->hash)) || (user->scram && !scram_is_valid(user->scram)))
                return -EINVAL;

        ret->name = strdup(user->name);
        ret->hash = user->hash ? strdup(user->hash) : NULL;
        ret->scram = user->scram ? strdup(user->scram) : NULL;
        if (!ret->name || (user->hash && !ret->hash) || (user->scram && !ret->scram))
                return -ENOMEM;
        ret->admin = user->admin;

        r = patterns_copy(user->read, user->n_read, &ret->read, &ret->n_read);
        if (r < 0)
                return r;
        return patterns_copy(user->write, user->n_write, &ret->write, &ret->n_write);
}

int users_file_set(struct users_file *file, const struct users_file_user *user) {
        struct users_file_user copy = {}, *old, *users;
        int r;

        r = user_copy(user, &copy);
        if (r < 0)
                goto fail;

        old = users_file_find(file, user->name);
        if (old) {
                user_done(old);
                *old = copy;
                return 1;
        }

        r = -E2BIG;
        if (file->n_users >= USERS_FILE_USERS_MAX)
                goto fail;

        r = -ENOMEM;
        users = reallocarray(file->users, file->n_users + 1, sizeof(*users));
        if (!users)
                goto fail;

        file->users = users;
        file->users[file->n_users++] = copy;
        return 0;

fail:
        user_done(&copy);
        return r;
}

int users_file_remove(struct users_file *file, const char *name) {
        struct users_file_user *user = users_file_find(file, name);
        size_t i;

        if (!user)
                return -ENOENT;

        i = (size_t) (user - file->users);
        user_done(user);
        memmove(user, user + 1, (file->n_users - i - 1) * sizeof(*user));
        file->n_users--;
        return 0;
}

/* --- from JSON --- */

struct pattern_list {
        char ***patterns;
        size_t *n;
};

static int handle_pattern(struct config_context *context, struct json_object *value, void *userdata) {
        struct pattern_list *list = userdata;
        const char *text;
        char **grown;

        if (!json_object_is_type(value, json_type_string))
                return config_refuse(context, value, "a pattern of image names");
        text = json_object_get_string(value);
        if (strlen(text) != (size_t) json_object_get_string_len(value) || !pattern_is_valid(text))
                return config_refuse(context, value, "a pattern of 1-255 bytes");

        grown = reallocarray(*list->patterns, *list->n + 1, sizeof(char *));
        if (!grown)
                return -ENOMEM;
        *list->patterns = grown;
        grown[*list->n] = strdup(text);
        if (!grown[*list->n])
                return -ENOMEM;
        (*list->n)++;
        return 0;
}

static int handle_read(struct config_context *context, struct json_object *value, void *userdata) {
        struct users_file_user *user = userdata;
        struct pattern_list list = { &user->read, &user->n_read };

        return config_apply_array(context, value, USERS_FILE_PATTERNS_MAX, handle_pattern, &list);
}

static int handle_write(struct config_context *context, struct json_object *value, void *userdata) {
        struct users_file_user *user = userdata;
        struct pattern_list list = { &user->write, &user->n_write };

        return config_apply_array(context, value, USERS_FILE_PATTERNS_MAX, handle_pattern, &list);
}

static int handle_name(struct config_context *context, struct json_object *value, void *userdata) {
        struct users_file_user *user = userdata;
        int r;

        r = config_handle_string(context, value, &user->name);
        if (r < 0)
                return r;
        if (!users_file_name_is_valid(user->name))
                return config_refuse(context, value, "a user's name of 1-32 bytes");
        return 0;
}

/* The sentence quotes what was found, and what stands here may be somebody's password. */
static int refuse_secret(struct config_context *context, const char *expected) {
        struct json_object *hidden = json_object_new_string("(not shown)");
        int r;

        r = config_refuse(context, hidden, "%s", expected);
        json_object_put(hidden);
        return r;
}

static int handle_hash(struct config_context *context, struct json_object *value, void *userdata) {
        struct users_file_user *user = userdata;
        int r;

        r = config_handle_string(context, value, &user->hash);
        if (r < 0)
                return r;
        return hash_is_plausible(user->hash) ? 0
                                             : refuse_secret(context, "a hash as \"blockstorectl user add\" makes it");
}

static int handle_scram(struct config_context *context, struct json_object *value, void *userdata) {
        struct users_file_user *user = userdata;
        int r;

        r = config_handle_string(context, value, &user->scram);
        if (r < 0)
                return r;
        return scram_is_valid(user->scram)
                       ? 0
                       : refuse_secret(context, "a SCRAM verifier as \"blockstorectl user add\" makes it");
}

static int handle_user(struct config_context *context, struct json_object *value, void *userdata) {
        static const struct config_key keys[] = {
                { "name", handle_name, 0, true },
                { "hash", handle_hash, 0, false },
                { "scram", handle_scram, 0, false },
                { "read", handle_read, 0, false },
                { "write", handle_write, 0, false },
                { "admin", config_handle_bool, offsetof(struct users_file_user, admin), false },
                {},
        };
        struct users_file *file = userdata;
        struct users_file_user user = {};
        int r;

        r = config_apply_object(context, value, keys, &user);
        if (r >= 0 && !user.hash && !user.scram)
                r = config_refuse(
                        context, value, "\"hash\" or \"scram\" for each user (\"%s\" has neither)", user.name);
        if (r >= 0 && users_file_find(file, user.name))
                r = config_refuse(context, value, "each user once (\"%s\" stands here again)", user.name);
        if (r >= 0)
                r = users_file_set(file, &user);
        user_done(&user);
        return r < 0 ? r : 0;
}

static int handle_users(struct config_context *context, struct json_object *value, void *userdata) {
        return config_apply_array(context, value, USERS_FILE_USERS_MAX, handle_user, userdata);
}

int users_file_load(const char *path, struct users_file **ret, char **ret_message) {
        static const struct config_key keys[] = {
                { "users", handle_users, 0, true },
                {},
        };
        _cleanup_(config_file_freep) struct config_file *config = NULL;
        _cleanup_(users_file_freep) struct users_file *file = NULL;
        int r;

        r = config_file_open(path, &config, ret_message);
        if (r < 0)
                return r;
        r = users_file_new(&file);
        if (r < 0)
                return r;
        r = config_apply(config, keys, file, ret_message);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(file);
        return 0;
}

/* --- to JSON --- */

static int object_add(struct json_object *object, const char *key, struct json_object *value) {
        if (!value)
                return -ENOMEM;
        if (json_object_object_add(object, key, value) < 0) {
                json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

static struct json_object *patterns_to_json(char **patterns, size_t n) {
        struct json_object *array = json_object_new_array();

        for (size_t i = 0; array && i < n; i++) {
                struct json_object *pattern = json_object_new_string(patterns[i]);

                if (!pattern || json_object_array_add(array, pattern) < 0) {
                        json_object_put(pattern);
                        json_object_put(array);
                        return NULL;
                }
        }
        return array;
}

static int user_to_json(const struct users_file_user *user, struct json_object **ret) {
        struct json_object *object;
        int r;

        object = json_object_new_object();
        if (!object)
                return -ENOMEM;

        r = object_add(object, "name", json_object_new_string(user->name));
        if (r >= 0 && user->hash)
                r = object_add(object, "hash", json_object_new_string(user->hash));
        if (r >= 0 && user->scram)
                r = object_add(object, "scram", json_object_new_string(user->scram));
        if (r >= 0)
                r = object_add(object, "read", patterns_to_json(user->read, user->n_read));
        if (r >= 0)
                r = object_add(object, "write", patterns_to_json(user->write, user->n_write));
        if (r >= 0)
                r = object_add(object, "admin", json_object_new_boolean(user->admin));
        if (r < 0) {
                json_object_put(object);
                return r;
        }

        *ret = object;
        return 0;
}

static int users_to_text(const struct users_file *file, char **ret) {
        struct json_object *top, *array, *user;
        const char *text;
        int r = -ENOMEM;

        top = json_object_new_object();
        if (!top)
                return -ENOMEM;
        array = json_object_new_array();
        if (object_add(top, "users", array) < 0)
                goto finish;

        for (size_t i = 0; i < file->n_users; i++) {
                r = user_to_json(file->users + i, &user);
                if (r < 0)
                        goto finish;
                if (json_object_array_add(array, user) < 0) {
                        json_object_put(user);
                        r = -ENOMEM;
                        goto finish;
                }
        }

        text = json_object_to_json_string_ext(
                top, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE);
        r = text && asprintf(ret, "%s\n", text) >= 0 ? 0 : -ENOMEM;

finish:
        json_object_put(top);
        return r;
}

/* --- the file --- */

static int open_directory_of(const char *path, int *ret_fd, char **ret_name) {
        _cleanup_free_ char *a = strdup(path), *b = strdup(path), *name = NULL;
        int fd;

        if (!a || !b)
                return -ENOMEM;
        name = strdup(basename(b));
        if (!name)
                return -ENOMEM;

        fd = open(dirname(a), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;

        *ret_fd = fd;
        if (ret_name)
                *ret_name = TAKE_PTR(name);
        return 0;
}

/* The owner and mode that the new file is to have: those of the old one, else 0640 in the directory's group, which is
 * how the proxy's own user gets to read what root has written. */
static int adopt_owner(int directory_fd, const char *name, int fd) {
        struct stat old, mine;
        mode_t mode;

        if (fstat(fd, &mine) < 0)
                return -errno;

        if (fstatat(directory_fd, name, &old, AT_SYMLINK_NOFOLLOW) >= 0) {
                if (!S_ISREG(old.st_mode))
                        return -EINVAL;
                mode = old.st_mode & 07777;
        } else if (errno == ENOENT) {
                if (fstat(directory_fd, &old) < 0)
                        return -errno;
                old.st_uid = mine.st_uid;
                mode = 0640;
        } else
                return -errno;

        if ((old.st_uid != mine.st_uid || old.st_gid != mine.st_gid) && fchown(fd, old.st_uid, old.st_gid) < 0)
                return -errno;
        if (fchmod(fd, mode) < 0)
                return -errno;
        return 0;
}

int users_file_save(const struct users_file *file, const char *path) {
        _cleanup_free_ char *text = NULL, *name = NULL, *temporary = NULL;
        _cleanup_close_ int directory_fd = -EBADF, fd = -EBADF;
        int r;

        r = users_to_text(file, &text);
        if (r < 0)
                return r;
        r = open_directory_of(path, &directory_fd, &name);
        if (r < 0)
                return r;
        assert(name);
        if (asprintf(&temporary, ".%s.new-%d", name, (int) getpid()) < 0)
                return -ENOMEM;

        (void) unlinkat(directory_fd, temporary, 0);
        fd = openat(directory_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;

        r = write_all(fd, text, strlen(text));
        if (r >= 0)
                r = adopt_owner(directory_fd, name, fd);
        if (r >= 0 && fsync(fd) < 0)
                r = -errno;
        if (r >= 0 && renameat(directory_fd, temporary, directory_fd, name) < 0)
                r = -errno;
        if (r < 0) {
                (void) unlinkat(directory_fd, temporary, 0);
                return r;
        }
        return fsync(directory_fd) < 0 ? -errno : 0;
}

int users_file_lock(const char *path, int *ret_fd) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        r = open_directory_of(path, &fd, NULL);
        if (r < 0)
                return r;
        while (flock(fd, LOCK_EX) < 0)
                if (errno != EINTR)
                        return -errno;

        *ret_fd = TAKE_FD(fd);
        return 0;
}
