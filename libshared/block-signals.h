/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <signal.h>

/* Blocks these signals, the last followed by 0, in this thread and in those that it makes from now on: then they come where they are waited for, and nowhere else. Returns the set, for whoever waits with sigtimedwait() or a
 * signalfd. */
sigset_t block_signals(int first, ...);
