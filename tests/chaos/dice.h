/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Random numbers that come again with the same seed (Steele, Lea, Flood: SplitMix64). Everything that is chosen at random has dice of its own, so
 * that one thing more of one kind does not change all others. */

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct dice {
        uint64_t state;
};

static inline uint64_t dice_mix(uint64_t z) {
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        return z ^ (z >> 31);
}

/* purpose: tells the dice of one seed apart. */
static inline struct dice dice_new(uint64_t seed, uint64_t purpose) {
        return (struct dice){ dice_mix(seed ^ dice_mix(purpose + 1)) };
}

static inline uint64_t dice_next(struct dice *dice) {
        dice->state += UINT64_C(0x9e3779b97f4a7c15);
        return dice_mix(dice->state);
}

/* 0 to n - 1; n at least 1. */
static inline uint64_t dice_below(struct dice *dice, uint64_t n) {
        return dice_next(dice) % n;
}

/* Both ends included. */
static inline uint64_t dice_between(struct dice *dice, uint64_t low, uint64_t high) {
        return low + dice_below(dice, high - low + 1);
}

static inline bool dice_percent(struct dice *dice, unsigned percent) {
        return dice_below(dice, 100) < percent;
}

#define MSEC UINT64_C(1000) /* in µs, as all times here are */
#define SEC  UINT64_C(1000000)

/* CLOCK_MONOTONIC, µs. */
static inline uint64_t now_usec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * SEC + (uint64_t) ts.tv_nsec / 1000;
}
