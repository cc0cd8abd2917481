// SPDX-License-Identifier: Apache-2.0
// The language that names tensors in recipes and on the command line. A pattern is one condition,
// or several joined by '&' that must all hold:
//
//     experts.down            a role (role.h), or a class of roles: experts, shared, attention,
//                             dense, router, norms, embeddings, head; `linear` is the first four
//     layer<3   layer=7   layer>=58   layer=3..5   expert<8       ranges; both ends belong to a..b
//     *.mlp.experts.*.up_proj a glob over a whole module or tensor name: '*' any run, '?' one byte
//     re:layers\.[0-3]\.      a regular expression, found anywhere in the module or tensor name
//     model.norm              a module or tensor by its whole name
//     name:anything & all     the same; everything behind the colon belongs to the name
//
// A word without '*' and '?' that is nearly a role is refused, since it is a typing error more
// often than a name. Decides nothing about types: that is convert/recipe.h.
#ifndef SCRUPLE_FORMATS_SELECTOR_H
#define SCRUPLE_FORMATS_SELECTOR_H

#include "base/mem.h"
#include "formats/model.h"

enum { SELECTOR_MAX_TEXT = 4096, SELECTOR_MAX_TERMS = 16 };

typedef struct selector_term selector_term;

// How clearly a pattern says which weights it means. Globs, regular expressions and ranges may
// match more than their writer thought of; a role or a name has been written down on purpose.
typedef enum { SELECTOR_LOOSE, SELECTOR_CLASS, SELECTOR_EXACT } selector_aim;

typedef struct {
    const char *text;  // as given
    selector_term *term;
    int n_terms;
    selector_aim aim;
    const char *name;  // where the pattern is nothing but a whole name: that name, else NULL
} selector;

// What a pattern is held against. A tensor without a role matches by names only.
typedef struct {
    const char *module, *tensor; // module path (biases: the name), name of its first stored tensor
    bool owned;
    role role;
    int64_t layer, expert;       // -1 where there is none
} selector_subject;

// ERR_INPUT with the position and, for words, the nearest one that exists. Texts live in `a`, which
// must outlive the selector; regular expressions are the selector's own.
MUST_USE bool selector_parse(selector *s, const char *text, arena *a, err *e);
void selector_free(selector *s);
// ERR_INPUT where a regular expression takes too many steps. Not for two threads at once.
MUST_USE bool selector_matches(const selector *s, const selector_subject *of, bool *yes, err *e);
selector_subject selector_subject_of(const tensor_account *a, const tensor *t);

#endif
