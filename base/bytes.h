// SPDX-License-Identifier: Apache-2.0
// Little-endian loads and stores at any address. All files of this project are little-endian.
#ifndef SCRUPLE_BASE_BYTES_H
#define SCRUPLE_BASE_BYTES_H

#include <string.h>

#include "base/base.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "scruple runs on little-endian machines"
#endif

static inline uint16_t load_u16(const void *p) { uint16_t v; memcpy(&v, p, 2); return v; }
static inline uint32_t load_u32(const void *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline uint64_t load_u64(const void *p) { uint64_t v; memcpy(&v, p, 8); return v; }
static inline float load_f32(const void *p) { float v; memcpy(&v, p, 4); return v; }
static inline double load_f64(const void *p) { double v; memcpy(&v, p, 8); return v; }
static inline void store_u16(void *p, uint16_t v) { memcpy(p, &v, 2); }
static inline void store_u32(void *p, uint32_t v) { memcpy(p, &v, 4); }
static inline void store_u64(void *p, uint64_t v) { memcpy(p, &v, 8); }
static inline void store_f32(void *p, float v) { memcpy(p, &v, 4); }

static inline uint32_t f32_bits(float v) { uint32_t u; memcpy(&u, &v, 4); return u; }
static inline float f32_from_bits(uint32_t u) { float v; memcpy(&v, &u, 4); return v; }
static inline uint64_t f64_bits(double v) { uint64_t u; memcpy(&u, &v, 8); return u; }
static inline double f64_from_bits(uint64_t u) { double v; memcpy(&v, &u, 8); return v; }

#endif
