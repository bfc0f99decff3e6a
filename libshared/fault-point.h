/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Test builds only (meson -Dfault_points=true): named points at which a process can be made to die or stand still, and safety rules that can be switched off, so
 * that the chaos suite can reach the one instruction it wants and can prove that each rule's test fails without the rule. Any other build contains nothing of
 * this: fault_point() is no statement, rule_is_off() the constant false, and neither the names nor the variables' names are in the binary.
 *
 *   BLOCKSTORE_FAULT_POINT=NAME[:N][=kill|stop]   at the Nth passing (default 1, at most 1,000,000,000) of point NAME, this process sends itself SIGKILL
 *                                                 (the default) or SIGSTOP: once, later passings do nothing
 *   BLOCKSTORE_RULES_OFF=RULE[,RULE...]           these rules are not kept
 *
 * Both are read once, at the first use. One that cannot be understood ends the process with abort(): a test that injects nothing must not pass. Every point stands
 * with a sentence in tests/chaos/points, every rule with its test in tests/chaos/rules. Callable from any thread. */

#include <stdbool.h>

#if BLOCKSTORE_FAULT_POINTS

void fault_point(const char *name);
bool rule_is_off(const char *name);

#else

#define fault_point(name) ((void) 0)
#define rule_is_off(name) false

#endif
