/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The directories are the supervisor's; the workers' group reads. */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer-bus.h"
#include "run-file.h"
#include "write-all.h"

#define WORKER_GROUP "blockstore-worker"

/* The file's path, and that of the temporary file beside it. */
static int make_paths(const char *directory, const char *name, char **ret_path, char **ret_temporary) {
        _cleanup_free_ char *relative = NULL, *path = NULL, *temporary = NULL;
        int r;

        if (asprintf(&relative, "%s/%s.json", directory, name) < 0)
                return -ENOMEM;

        r = peer_bus_path(relative, &path);
        if (r < 0)
                return r;

        if (asprintf(&temporary, "%s.new", path) < 0)
                return -ENOMEM;

        *ret_path = TAKE_PTR(path);
        *ret_temporary = TAKE_PTR(temporary);
        return 0;
}

static int write_file(const char *temporary, const char *path, const char *text) {
        const struct group *group;
        int fd, r;

        (void) unlink(temporary);
        fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return -errno;

        /* Without the group (a private instance of a test) only its owner reads. */
        /* The supervisor has one thread. */
        /* cppcheck-suppress getgrnamCalled */
        group = getgrnam(WORKER_GROUP);
        if (group && geteuid() == 0 && fchown(fd, (uid_t) -1, group->gr_gid) < 0)
                r = -errno;
        else
                r = fchmod(fd, 0640) < 0 ? -errno : write_all(fd, text, strlen(text));
        if (close(fd) < 0 && r >= 0)
                r = -errno;
        if (r >= 0 && rename(temporary, path) < 0)
                r = -errno;
        if (r < 0)
                (void) unlink(temporary);
        return r;
}

int run_file_write(const char *directory, const char *name, struct json_object *object) {
        _cleanup_free_ char *path = NULL, *temporary = NULL, *parent = NULL;
        int r;

        r = make_paths(directory, name, &path, &temporary);
        if (r < 0)
                return r;

        /* tmpfiles makes it with the workers' group; this is for those who run without. */
        parent = strndup(path, (size_t) (strrchr(path, '/') - path));
        if (!parent)
                return -ENOMEM;
        if (mkdir(parent, 0750) < 0 && errno != EEXIST)
                return -errno;

        return write_file(temporary, path, json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY));
}

int run_file_read(const char *directory, const char *name, struct json_object **ret) {
        _cleanup_(json_object_putp) struct json_object *object = NULL;
        _cleanup_free_ char *path = NULL, *temporary = NULL;
        int r;

        r = make_paths(directory, name, &path, &temporary);
        if (r < 0)
                return r;
        if (access(path, F_OK) < 0)
                return errno == ENOENT ? 0 : -errno;

        object = json_object_from_file(path);
        if (!object || !json_object_is_type(object, json_type_object))
                return -EBADMSG;
        *ret = TAKE_PTR(object);
        return 1;
}

int run_file_remove(const char *directory, const char *name) {
        _cleanup_free_ char *path = NULL, *temporary = NULL;
        int r;

        r = make_paths(directory, name, &path, &temporary);
        if (r < 0)
                return r;

        return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}
