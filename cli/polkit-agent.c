/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* polkit asks a user through an agent of his session. A desktop has one; over ssh there is none, and then
 * "interactive" means a plain refusal. pkttyagent, which comes with polkit, is one for the terminal: it is started for
 * the length of a call and tells by closing a pipe that it has registered. "--fallback" leaves the desktop's agent in
 * charge where there is one. */

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "polkit-agent.h"

#define PKTTYAGENT       "/usr/bin/pkttyagent"
#define REGISTER_TIME_MS 5000

static pid_t agent = 0;

/* In the child, which has one thread and leaves by exec or not at all. */
static _Noreturn void agent_exec(int ready) {
        char number[16];
        sigset_t none;

        /* What the caller has blocked would stay so: SIGTERM has to end the agent. */
        sigemptyset(&none);
        snprintf(number, sizeof number, "%d", ready);
        if (sigprocmask(SIG_SETMASK, &none, NULL) == 0 && prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 &&
                fcntl(ready, F_SETFD, 0) == 0)
                execl(PKTTYAGENT, "pkttyagent", "--notify-fd", number, "--fallback", (char *) NULL);
        _exit(EXIT_FAILURE);
}

int polkit_agent_start(const struct cli *cli) {
        _cleanup_close_ int ready = -EBADF, theirs = -EBADF;
        struct pollfd poll_fd;
        int fds[2];

        if (agent > 0 || cli->no_ask_password || geteuid() == 0 || !isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
                return 0;
        if (access(PKTTYAGENT, X_OK) < 0)
                return 0;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        ready = fds[0];
        theirs = fds[1];

        agent = fork();
        if (agent < 0)
                return -errno;
        if (agent == 0)
                agent_exec(theirs);
        /* Ours goes, so that a hang-up can be seen. */
        close(TAKE_FD(theirs));

        /* The pipe hangs up when it has registered, or when it has died. Without it the call still gets its answer: a
         * refusal. */
        poll_fd = (struct pollfd){ .fd = ready, .events = POLLIN };
        (void) poll(&poll_fd, 1, REGISTER_TIME_MS);

        return 0;
}

void polkit_agent_stop(void) {
        if (agent <= 0)
                return;

        (void) kill(agent, SIGTERM);
        (void) kill(agent, SIGCONT);
        while (waitpid(agent, NULL, 0) < 0 && errno == EINTR)
                ;
        agent = 0;
}
