/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The passwords that systemd gives to workers: which of the places in question has one, and whether it is any good. Nothing of a password is kept, shown or compared; that a proxy accepts it is
 * found out by a login (doctor-store.c). */

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "doctor.h"
#include "host-config.h"

#define PATH_SIZE   512U
#define CREDS       "/usr/bin/systemd-creds"
#define DEFAULT     "blockstore.default"
#define WRITE_PLAIN "install -D -m 0600 /dev/stdin /etc/credstore/" DEFAULT

/* In the order in which systemd looks for a relative name (systemd.exec(5), LoadCredential=). */
static const char *const plain[] = { "/etc/credstore", "/run/credstore", "/usr/local/lib/credstore",
        "/usr/lib/credstore" };
/* As in image@.service, LoadCredentialEncrypted=. */
#define ENCRYPTED "/etc/credstore.encrypted"

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

/* Whether there is one of that name, and where. */
static bool find(const char *name, char ret_path[static PATH_SIZE], bool *ret_encrypted) {
        for (unsigned i = 0; i < ELEMENTSOF(plain); i++) {
                snprintf(ret_path, PATH_SIZE, "%s/%s", plain[i], name);
                if (access(ret_path, F_OK) == 0) {
                        *ret_encrypted = false;
                        return true;
                }
        }

        snprintf(ret_path, PATH_SIZE, ENCRYPTED "/%s", name);
        *ret_encrypted = true;
        return access(ret_path, F_OK) == 0;
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
                        "name on this host (attach --as), or let it use " DEFAULT ".",
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

                snprintf(credential, sizeof credential, "blockstore.%s", *name);
                (void) (look_for(d, credential, *name) || look_for(d, DEFAULT, DEFAULT));
        }
        if (!look_for(d, DEFAULT, DEFAULT))
                found(d, FINDING_ERROR, DEFAULT, WRITE_PLAIN,
                        "There is no password: neither in /etc/credstore and its like nor in " ENCRYPTED
                        ". (The command takes it from the terminal, up to Ctrl-D.)");
}
