/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The passwords of the images: which of the places in question has one, and whether it is any good. Nothing of a password is kept, shown or compared; that a proxy accepts it is
 * found out by a login (doctor-store.c). */

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "credential-stores.h"
#include "doctor.h"
#include "host-config.h"

#define PATH_SIZE   512U
#define CREDS       "/usr/bin/systemd-creds"
#define WRITE_PLAIN "install -D -m 0600 /dev/stdin /etc/credstore/" CREDENTIAL_DEFAULT

static void look_at_plain(struct doctor *d, const char *path, const char *subject) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        char command[DOCTOR_COMMAND_MAX], first = '\n';
        struct stat st;
        ssize_t n;

        if (fd < 0 || fstat(fd, &st) < 0) {
                found(d, FINDING_ERROR, subject, NULL, "%s cannot be read: %s.", path, strerror(errno));
                return;
        }

        n = read(fd, &first, 1);
        if (n < 1 || first == '\n') {
                snprintf(command, sizeof command, "install -m 0600 /dev/stdin %s", path);
                found(d, FINDING_ERROR, subject, command, "%s has no password in its first line.", path);
        } else if (st.st_mode & 077) {
                snprintf(command, sizeof command, "chmod 0600 %s", path);
                found(d, FINDING_WARNING, subject, command, "%s can be read by others than its owner (mode %04o).",
                        path, (unsigned) st.st_mode & 07777U);
        } else
                found(d, FINDING_OK, subject, NULL, "%s is used.", path);
        explicit_bzero(&first, sizeof first);
}

/* Output and all goes to /dev/null. */
static void look_at_encrypted(struct doctor *d, const char *name, const char *path, const char *subject) {
        char option[160], command[DOCTOR_COMMAND_MAX];
        const char *const argv[] = { CREDS, "decrypt", option, path, "/dev/null", NULL };
        int r;

        snprintf(option, sizeof option, "--name=%s", name);
        r = doctor_run(argv, NULL);
        if (r == 0)
                found(d, FINDING_OK, subject, NULL, "%s is used.", path);
        else if (r == -ENOENT)
                found(d, FINDING_SKIPPED, subject, NULL, "%s is used; there is no systemd-creds to try it with.",
                        path);
        else {
                snprintf(command, sizeof command, "systemd-creds encrypt --name=%s - %s", name, path);
                found(d, FINDING_ERROR, subject, command,
                        "%s cannot be decrypted on this machine: no image that it is meant for can be attached.",
                        path);
        }
}

/* Whether there is one of that name, and where: as blockstore-password looks for it. */
static bool find(const char *name, char ret_path[static PATH_SIZE], bool *ret_encrypted) {
        for (unsigned i = 0; i < 2 * CREDENTIAL_STORES_N; i++) {
                *ret_encrypted = i >= CREDENTIAL_STORES_N;
                snprintf(ret_path, PATH_SIZE, "%s/%s",
                        *ret_encrypted ? credential_stores_encrypted[i - CREDENTIAL_STORES_N] : credential_stores[i],
                        name);
                if (access(ret_path, F_OK) == 0)
                        return true;
        }
        return false;
}

/* Returns whether there is one of that name that is used. */
static bool look_for(struct doctor *d, const char *name, const char *subject) {
        char path[PATH_SIZE];
        bool encrypted;

        if (!find(name, path, &encrypted))
                return false;
        if (strchr(name, ':')) {
                found(d, FINDING_WARNING, subject, NULL,
                        "%s is not used: to systemd a name with a ':' is none of a credential. Give the image another "
                        "name on this host (attach --as), or let it use " CREDENTIAL_DEFAULT ".",
                        path);
                return false;
        }
        if (encrypted)
                look_at_encrypted(d, name, path, subject);
        else
                look_at_plain(d, path, subject);
        return true;
}

void check_credentials(struct doctor *d) {
        if (geteuid() != 0) {
                found(d, FINDING_SKIPPED, NULL, NULL, "Only root can look at passwords.");
                return;
        }

        for (char **name = d->images; *name; name++) {
                char credential[128];

                snprintf(credential, sizeof credential, CREDENTIAL_PREFIX "%s", *name);
                (void) (look_for(d, credential, *name) || look_for(d, CREDENTIAL_DEFAULT, CREDENTIAL_DEFAULT));
        }
        if (!look_for(d, CREDENTIAL_DEFAULT, CREDENTIAL_DEFAULT))
                found(d, FINDING_ERROR, CREDENTIAL_DEFAULT, WRITE_PLAIN,
                        "There is no password: neither in /etc/credstore and its like nor in "
                        "/etc/credstore.encrypted. (The command takes it from the terminal, up to Ctrl-D.)");
}
