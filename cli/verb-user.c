/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The users of a proxy, kept in a file on the proxy's machine: the only verb that speaks to no daemon. An edit takes
 * the file's lock after the password was read, so a user who thinks about his password holds up nobody. */

#include <string.h>

#include "ivbs.h"
#include "output.h"
#include "password.h"
#include "report.h"
#include "users-file.h"
#include "verbs.h"

static const char *arg_file = "/etc/blockstore/proxyd/users.json";
static struct string_list arg_read, arg_write;
static bool arg_admin, arg_no_classic;

#define FILE_OPTION                                                                                                 \
        {                                                                                                           \
                "file", 0, "FILE", "The file of users (default: /etc/blockstore/proxyd/users.json)", OPTION_STRING, \
                        &arg_file                                                                                   \
        }

#define NO_CLASSIC_OPTION                                                                                         \
        {                                                                                                         \
                "no-classic", 0, NULL, "Keep nothing for the classic LOGIN: the user can log in with SCRAM only", \
                        OPTION_FLAG, &arg_no_classic                                                              \
        }

static const struct option_entry add_options[] = {
        FILE_OPTION,
        { "read", 0, "PATTERN", "May read the images that match (repeat for more; * is any)", OPTION_LIST, &arg_read },
        { "write", 0, "PATTERN", "May read and write the images that match", OPTION_LIST, &arg_write },
        { "admin", 0, NULL, "May list, create and remove images", OPTION_FLAG, &arg_admin },
        NO_CLASSIC_OPTION,
        { NULL },
};

static const struct option_entry rights_options[] = {
        FILE_OPTION,
        { "read", 0, "PATTERN", "May read the images that match (repeat for more; * is any)", OPTION_LIST, &arg_read },
        { "write", 0, "PATTERN", "May read and write the images that match", OPTION_LIST, &arg_write },
        { "admin", 0, NULL, "May list, create and remove images", OPTION_FLAG, &arg_admin },
        { NULL },
};

static const struct option_entry passwd_options[] = {
        FILE_OPTION,
        NO_CLASSIC_OPTION,
        { NULL },
};

static const struct option_entry file_options[] = {
        FILE_OPTION,
        { NULL },
};

static int run_add(const struct cli *cli, char *arguments[], unsigned n_arguments);
static int run_passwd(const struct cli *cli, char *arguments[], unsigned n_arguments);
static int run_rights(const struct cli *cli, char *arguments[], unsigned n_arguments);
static int run_remove(const struct cli *cli, char *arguments[], unsigned n_arguments);
static int run_list(const struct cli *cli, char *arguments[], unsigned n_arguments);

const struct verb user_verbs[] = {
        { "add", "NAME", "Add a user; the password is asked for, or is a line on stdin", 1, 1, add_options, run_add,
                NULL },
        { "passwd", "NAME", "Change a user's password, likewise", 1, 1, passwd_options, run_passwd, NULL },
        { "rights", "NAME", "Give a user these rights instead of those it has", 1, 1, rights_options, run_rights,
                NULL },
        { "remove", "NAME", "Remove a user", 1, 1, file_options, run_remove, NULL },
        { "list", "", "Show the users and their rights", 0, 0, file_options, run_list, NULL },
        { NULL },
};

/* An edit under way: the lock and what the file said when it was taken. */
struct edit {
        int lock;
        struct users_file *file;
};

static void edit_done(struct edit *edit) {
        users_file_free(edit->file);
        safe_close(edit->lock);
}

static int complain_load(int r, const char *message) {
        if (r == -EACCES || r == -EPERM)
                return report_plain(FAILURE_ACCESS_DENIED,
                        "cannot read %s: %s: run this as root on the proxy's machine", arg_file, strerror(-r));
        if (r == -ENOENT)
                return report_plain(FAILURE_CONFIGURATION,
                        "there is no file %s: \"blockstorectl user add\" makes it, --file names another", arg_file);

        return report(FAILURE_CONFIGURATION, NULL, "%s", message ? message : strerror(-r));
}

/* A file that is not there yet counts as empty when create is set. */
static int edit_begin(struct edit *edit, bool create) {
        _cleanup_free_ char *message = NULL;
        int r;

        r = users_file_lock(arg_file, &edit->lock);
        if (r == -ENOENT)
                return report_plain(FAILURE_CONFIGURATION,
                        "there is no directory for %s: make it first, or name another file by --file", arg_file);
        if (r == -EACCES || r == -EPERM)
                return report_plain(FAILURE_ACCESS_DENIED,
                        "cannot change %s: %s: run this as root on the proxy's machine", arg_file, strerror(-r));
        if (r < 0)
                return report_plain(FAILURE_IO, "cannot lock the directory of %s: %s", arg_file, strerror(-r));

        r = users_file_load(arg_file, &edit->file, &message);
        if (r == -ENOENT && create)
                return users_file_new(&edit->file);
        if (r < 0)
                return complain_load(r, message);

        return 0;
}

static int edit_commit(struct edit *edit) {
        int r;

        r = users_file_save(edit->file, arg_file);
        if (r == -EACCES || r == -EPERM)
                return report_plain(FAILURE_ACCESS_DENIED,
                        "cannot write %s: %s: nothing was changed; run this as root on the proxy's machine", arg_file,
                        strerror(-r));
        if (r < 0)
                return report_plain(FAILURE_IO, "cannot write %s: %s: nothing was changed", arg_file, strerror(-r));

        return 0;
}

static int check_name(const char *name) {
        if (users_file_name_is_valid(name))
                return 0;

        return report(FAILURE_USAGE, "user",
                "\"%s\" cannot be a user's name: expected 1 to %u bytes of UTF-8 without control characters", name,
                IVBS_USER_SIZE);
}

/* What the file keeps of a password, and what is to be said of it. */
struct kept {
        char *hash, *scram;
        unsigned n_characters;
};

static void kept_done(struct kept *kept) {
        free(kept->hash);
        free(kept->scram);
}

static unsigned count_characters(const char *utf8) {
        unsigned n = 0;

        for (; *utf8; utf8++)
                n += ((unsigned char) *utf8 & 0xc0) != 0x80;
        return n;
}

/* As passwd(1) does for root: what the administrator wants is done, and not without a word. */
static void remark_if_short(const char *name, const struct kept *kept) {
        if (kept->n_characters < PASSWORD_GOOD_MIN)
                remark("The password of %s has only %u character%s, which can be guessed: use %u or more, at random. "
                       "To change "
                       "it: blockstorectl user passwd %s",
                        name, kept->n_characters, kept->n_characters == 1 ? "" : "s", PASSWORD_GOOD_MIN, name);
}

/* Asks for the password and makes what the file keeps of it. */
static int read_kept(const char *name, struct kept *ret) {
        char password[PASSWORD_MAX], wire[IVBS_PASSWORD_SIZE];
        int r;

        r = password_read(name, password);
        if (r == 0)
                ret->n_characters = count_characters(password);
        if (r == 0)
                r = ivbs_hash_password(password, strlen(password), wire);
        explicit_bzero(password, sizeof password);
        if (r == 0 && !arg_no_classic)
                r = users_file_hash(wire, &ret->hash);
        if (r == 0)
                r = users_file_scram(wire, &ret->scram);
        explicit_bzero(wire, sizeof wire);

        if (r == -EINTR) {
                remark("Nothing was changed.");
                return CLI_EXIT_INTERRUPTED;
        }
        return r;
}

/* Adds or replaces a user with the rights of the command line, and writes the file. */
static int edit_set(struct edit *edit, const struct users_file_user *user) {
        int r;

        r = users_file_set(edit->file, user);
        if (r == -EINVAL)
                return report(FAILURE_USAGE, "user",
                        "a pattern of --read or --write is not valid: expected UTF-8 without control characters, and "
                        "not empty");
        if (r == -E2BIG)
                return report_plain(
                        FAILURE_USAGE, "%s is full: there may be %u users", arg_file, USERS_FILE_USERS_MAX);
        if (r < 0)
                return r;
        return edit_commit(edit);
}

static int run_add(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(edit_done) struct edit edit = { .lock = -EBADF };
        _cleanup_(kept_done) struct kept kept = {};
        struct users_file_user user = {
                .name = arguments[0],
                .read = (char **) arg_read.items,
                .n_read = arg_read.n,
                .write = (char **) arg_write.items,
                .n_write = arg_write.n,
                .admin = arg_admin,
        };
        int r;

        r = check_name(user.name);
        if (r != 0)
                return r;
        r = read_kept(user.name, &kept);
        if (r != 0)
                return r;
        user.hash = kept.hash;
        user.scram = kept.scram;

        r = edit_begin(&edit, true);
        if (r != 0)
                return r;
        if (users_file_find(edit.file, user.name))
                return report_plain(FAILURE_ALREADY_EXISTS,
                        "there is a user %s in %s already: change the password by \"blockstorectl user passwd\", or "
                        "remove the user first",
                        user.name, arg_file);

        r = edit_set(&edit, &user);
        if (r != 0)
                return r;

        if (cli->json == JSON_OFF)
                printf("%s may log in.\n", user.name);
        remark_if_short(user.name, &kept);
        if (!user.admin && user.n_read == 0 && user.n_write == 0)
                remark("%s has no rights yet: neither --read, --write nor --admin was given.", user.name);
        return 0;
}

/* Finds the user of an edit or tells that there is none. */
static int edit_find(struct edit *edit, const char *name, struct users_file_user **ret) {
        *ret = users_file_find(edit->file, name);
        if (*ret)
                return 0;

        return report_plain(FAILURE_NO_SUCH_IMAGE,
                "there is no user %s in %s: \"blockstorectl user list\" shows who there is", name, arg_file);
}

static int run_passwd(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(edit_done) struct edit edit = { .lock = -EBADF };
        _cleanup_(kept_done) struct kept kept = {};
        struct users_file_user *found, user;
        const char *name = arguments[0];
        int r;

        r = check_name(name);
        if (r != 0)
                return r;
        r = read_kept(name, &kept);
        if (r != 0)
                return r;

        r = edit_begin(&edit, false);
        if (r != 0)
                return r;
        r = edit_find(&edit, name, &found);
        if (r != 0)
                return r;

        user = *found;
        user.hash = kept.hash;
        user.scram = kept.scram;
        r = users_file_set(edit.file, &user);
        if (r < 0)
                return r;
        r = edit_commit(&edit);
        if (r != 0)
                return r;

        if (cli->json == JSON_OFF)
                printf("The password of %s is changed.\n", name);
        remark_if_short(name, &kept);
        return 0;
}

/* All of them are said each time: what is not named any more is taken away, and a proxy that serves the user does so at once when it reads the file anew. */
static int run_rights(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(edit_done) struct edit edit = { .lock = -EBADF };
        struct users_file_user *found, user;
        const char *name = arguments[0];
        int r;

        r = edit_begin(&edit, false);
        if (r != 0)
                return r;
        r = edit_find(&edit, name, &found);
        if (r != 0)
                return r;

        user = *found;
        user.read = (char **) arg_read.items;
        user.n_read = arg_read.n;
        user.write = (char **) arg_write.items;
        user.n_write = arg_write.n;
        user.admin = arg_admin;
        r = edit_set(&edit, &user);
        if (r != 0)
                return r;

        if (cli->json == JSON_OFF)
                printf("The rights of %s are changed.\n", name);
        if (!user.admin && user.n_read == 0 && user.n_write == 0)
                remark("%s has no rights now: neither --read, --write nor --admin was given.", name);
        return 0;
}

static int run_remove(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(edit_done) struct edit edit = { .lock = -EBADF };
        struct users_file_user *found;
        const char *name = arguments[0];
        int r;

        r = edit_begin(&edit, false);
        if (r != 0)
                return r;
        r = edit_find(&edit, name, &found);
        if (r != 0)
                return r;
        r = users_file_remove(edit.file, name);
        if (r < 0)
                return r;
        r = edit_commit(&edit);
        if (r != 0)
                return r;

        if (cli->json == JSON_OFF)
                printf("%s is removed.\n", name);
        return 0;
}

static const struct column columns[] = {
        { "USER", "name", COLUMN_TEXT },
        { "READ", "read", COLUMN_LIST },
        { "WRITE", "write", COLUMN_LIST },
        { "ADMIN", "admin", COLUMN_YES },
        { "LOGIN", "login", COLUMN_LIST },
};

static int add_patterns(struct json_object *row, const char *key, char **patterns, size_t n) {
        struct json_object *array = json_object_new_array();

        if (!array || json_object_object_add(row, key, array) < 0) {
                json_object_put(array);
                return -ENOMEM;
        }
        for (size_t i = 0; i < n; i++)
                if (json_object_array_add(array, json_object_new_string(patterns[i])) < 0)
                        return -ENOMEM;

        return 0;
}

/* By which ways the user can log in. */
static int add_logins(struct json_object *row, const struct users_file_user *user) {
        char *ways[2];
        size_t n = 0;

        if (user->scram)
                ways[n++] = (char *) "scram";
        if (user->hash)
                ways[n++] = (char *) "classic";
        return add_patterns(row, "login", ways, n);
}

static int run_list(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(json_object_putp) struct json_object *rows = json_object_new_array();
        _cleanup_(users_file_freep) struct users_file *file = NULL;
        _cleanup_free_ char *message = NULL;
        int r;

        if (!rows)
                return -ENOMEM;

        r = users_file_load(arg_file, &file, &message);
        if (r < 0)
                return complain_load(r, message);

        for (size_t i = 0; i < file->n_users; i++) {
                const struct users_file_user *user = file->users + i;
                struct json_object *row = json_object_new_object();

                if (!row || json_object_array_add(rows, row) < 0) {
                        json_object_put(row);
                        return -ENOMEM;
                }
                if (json_object_object_add(row, "name", json_object_new_string(user->name)) < 0 ||
                        add_patterns(row, "read", user->read, user->n_read) < 0 ||
                        add_patterns(row, "write", user->write, user->n_write) < 0 ||
                        json_object_object_add(row, "admin", json_object_new_boolean(user->admin)) < 0 ||
                        add_logins(row, user) < 0)
                        return -ENOMEM;
        }

        return output_table(cli, columns, ELEMENTSOF(columns), rows);
}
