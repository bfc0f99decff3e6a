/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Reading a password so that it stays where it belongs: read(2) into the caller's buffer and nowhere else (stdio would
 * keep a copy), echo off and on again whatever ends the reading. A signal that would end the process while the
 * terminal is silent is caught, so that the terminal is put right first. */

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <termios.h>

#include "password.h"
#include "report.h"

static void on_interrupt(int number) {
}

/* One line without its end. The signals of mask, and no others, may end the wait for it. Returns its length, -ENODATA
 * when there is none, -E2BIG, -EINTR, -EINVAL for a NUL byte. */
static int read_line(int fd, const sigset_t *mask, char buffer[static PASSWORD_MAX]) {
        struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
        size_t n = 0;

        for (;;) {
                char c;
                ssize_t k;

                /* Only here are signals let through: one that comes a moment before the wait ends it as well. */
                if (ppoll(&poll_fd, 1, NULL, mask) < 0)
                        return -errno;
                k = read(fd, &c, 1);
                if (k < 0)
                        return -errno;
                if (k == 0 && n == 0)
                        return -ENODATA;
                if (k == 0 || c == '\n')
                        break;
                if (c == 0)
                        return -EINVAL;
                if (n + 1 >= PASSWORD_MAX)
                        return -E2BIG;
                buffer[n++] = c;
        }

        buffer[n] = 0;
        return (int) n;
}

static const int caught[] = { SIGINT, SIGTERM, SIGQUIT, SIGHUP };

static int read_line_silently(const char *prompt, char buffer[static PASSWORD_MAX]) {
        struct sigaction before[ELEMENTSOF(caught)], action = { .sa_handler = on_interrupt };
        struct termios shown, silent;
        sigset_t blocked, mask;
        int r;

        if (tcgetattr(STDIN_FILENO, &shown) < 0)
                return -errno;
        silent = shown;
        silent.c_lflag &= ~(tcflag_t) ECHO;
        silent.c_lflag |= ECHONL;

        sigemptyset(&blocked);
        for (unsigned i = 0; i < ELEMENTSOF(caught); i++) {
                sigaddset(&blocked, caught[i]);
                (void) sigaction(caught[i], &action, before + i);
        }
        (void) sigprocmask(SIG_BLOCK, &blocked, &mask);

        if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent) < 0)
                r = -errno;
        else {
                fputs(prompt, stderr);
                fflush(stderr);
                r = read_line(STDIN_FILENO, &mask, buffer);
                (void) tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
                if (r < 0)
                        fputc('\n', stderr);
        }

        /* One that is still pending is taken by our handler, not by what ends the process. */
        (void) sigprocmask(SIG_SETMASK, &mask, NULL);
        for (unsigned i = 0; i < ELEMENTSOF(caught); i++)
                (void) sigaction(caught[i], before + i, NULL);

        return r;
}

static int complain(int r) {
        switch (r) {
        case -EINTR:
                return r;
        case -E2BIG:
                return report(FAILURE_USAGE, "user", "the password is longer than %u bytes", PASSWORD_MAX - 1);
        case -EINVAL:
                return report(FAILURE_USAGE, "user", "the password has a NUL byte in it");
        case -ENODATA:
                return report(FAILURE_USAGE, "user",
                        "no password was given: expected one line on stdin, or a terminal to ask on");
        default:
                return report(FAILURE_INTERNAL, NULL, "cannot read the password: %s", strerror(-r));
        }
}

int password_read(const char *user, char password[static PASSWORD_MAX]) {
        char again[PASSWORD_MAX], prompt[96];
        bool terminal = isatty(STDIN_FILENO);
        int r;

        if (terminal) {
                snprintf(prompt, sizeof prompt, "New password of %s: ", user);
                r = read_line_silently(prompt, password);
        } else
                r = read_line(STDIN_FILENO, NULL, password);
        if (r < 0)
                return complain(r);
        if (r == 0)
                return report(FAILURE_USAGE, "user", "an empty password is no password");
        if (!terminal)
                return 0;

        r = read_line_silently("Again: ", again);
        if (r < 0)
                r = complain(r);
        else if (strcmp(password, again) != 0)
                r = report(FAILURE_USAGE, "user", "the two passwords differ: nothing was changed");
        else
                r = 0;

        explicit_bzero(again, sizeof again);
        return r;
}
