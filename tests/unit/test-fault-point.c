/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Named points and rules that can be switched off: in a test build they do what the environment says, in any other build nothing at all. Each case runs in a child,
 * because the environment is read once in a process's life. */

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault-point.h"
#include "test.h"

/* Passes points a, b, a, b, a in a child, which then exits with 7. Returns the number of passings before it stopped or died in *ret_passings. */
static int pass_points(const char *armed, unsigned *ret_passings) {
        unsigned char byte, n = 0;
        int fds[2], status;
        pid_t pid;

        ASSERT_OK(pipe(fds));
        pid = fork();
        ASSERT_OK(pid);
        if (pid == 0) {
                (void) setenv("BLOCKSTORE_FAULT_POINT", armed, 1);
                for (unsigned i = 0; i < 5; i++) {
                        if (i % 2 == 0)
                                fault_point("a");
                        else
                                fault_point("b");
                        if (write(fds[1], "x", 1) != 1)
                                _exit(1);
                }
                _exit(7);
        }
        close(fds[1]);

        ASSERT_EQ(waitpid(pid, &status, WUNTRACED), pid);
        if (WIFSTOPPED(status)) {
                int later;

                ASSERT_EQ(WSTOPSIG(status), SIGSTOP);
                ASSERT_OK(kill(pid, SIGKILL));
                ASSERT_EQ(waitpid(pid, &later, 0), pid);
        }
        while (read(fds[0], &byte, 1) == 1)
                n++;
        close(fds[0]);
        *ret_passings = n;
        return status;
}

static int rules_in_child(const char *off) {
        int status;
        pid_t pid;

        pid = fork();
        ASSERT_OK(pid);
        if (pid == 0) {
                if (off)
                        (void) setenv("BLOCKSTORE_RULES_OFF", off, 1);
                _exit((rule_is_off("fence") ? 1 : 0) | (rule_is_off("fence-settle") ? 2 : 0) |
                        (rule_is_off("hold") ? 4 : 0));
        }
        ASSERT_EQ(waitpid(pid, &status, 0), pid);
        ASSERT_TRUE(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static void nothing_armed(void) {
        unsigned n;

        ASSERT_EQ(WEXITSTATUS(pass_points("", &n)), 7);
        ASSERT_EQ(n, 5);
        ASSERT_EQ(WEXITSTATUS(pass_points("other:2=stop", &n)), 7);
        ASSERT_EQ(n, 5);
        ASSERT_EQ(rules_in_child(NULL), 0);
        ASSERT_EQ(rules_in_child(""), 0);
        ASSERT_EQ(rules_in_child("others"), 0);
}

#if BLOCKSTORE_FAULT_POINTS

static void kills_and_stops(void) {
        static const struct {
                const char *armed;
                unsigned passings;
                int signal;
        } cases[] = {
                { "a", 0, SIGKILL },
                { "b", 1, SIGKILL },
                { "a:3", 4, SIGKILL },
                { "b:2=kill", 3, SIGKILL },
                { "a=stop", 0, SIGSTOP },
                { "b:2=stop", 3, SIGSTOP },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                unsigned n;
                int status = pass_points(cases[i].armed, &n);

                ASSERT_EQ(n, cases[i].passings);
                if (cases[i].signal == SIGSTOP)
                        ASSERT_TRUE(WIFSTOPPED(status));
                else
                        ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        }
}

static void later_passings_go_on(void) {
        unsigned n;

        ASSERT_EQ(WEXITSTATUS(pass_points("a:4=stop", &n)), 7);
        ASSERT_EQ(n, 5);
}

static void refuses_what_it_does_not_understand(void) {
        static const char *const bad[] = { "a:", "a:0", "a:x", "a:-1", "a:1x", "a=", "a=pause", "=kill", ":1",
                "a:1000000001" };

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                unsigned n;
                int status = pass_points(bad[i], &n);

                ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        }
}

static void rules(void) {
        ASSERT_EQ(rules_in_child("fence"), 1);
        ASSERT_EQ(rules_in_child("fence-settle"), 2);
        ASSERT_EQ(rules_in_child("hold,fence"), 5);
        ASSERT_EQ(rules_in_child(",hold,,fence-settle,"), 6);
        ASSERT_EQ(rules_in_child("fenc,fence-,ence"), 0);
}

TEST_MAIN(TEST(nothing_armed), TEST(kills_and_stops), TEST(later_passings_go_on),
        TEST(refuses_what_it_does_not_understand), TEST(rules));

#else

static void absent_from_this_build(void) {
        unsigned n;

        ASSERT_EQ(WEXITSTATUS(pass_points("a=kill", &n)), 7);
        ASSERT_EQ(n, 5);
        ASSERT_EQ(rules_in_child("fence,fence-settle,hold"), 0);
}

TEST_MAIN(TEST(nothing_armed), TEST(absent_from_this_build));

#endif
